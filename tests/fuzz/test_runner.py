"""The judge of hostile inputs sees what it is there to see."""

import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from deta.data import read_coco
from scripts.fuzz.annotations import Annotations, disagreement, document, lvis_document
from scripts.fuzz.checkpoints import Checkpoints, saved, sound
from scripts.fuzz.images import Images
from scripts.fuzz.mutations import dump
from scripts.fuzz.overrides import Overrides
from scripts.fuzz.runner import report, verdicts
from scripts.fuzz.sides import SOUND, Sides
from scripts.fuzz.trial import Case, Outcome, draw, judge

pytestmark = pytest.mark.filterwarnings("ignore")


class EveryOutcome:
    """Cases that end as they say."""

    name = "every"
    suffix = ".bin"
    seconds = 3.0

    def make(self, random: Random) -> Case:
        """Draw an end."""
        outcome = random.choice(list(Outcome))
        return Case(outcome, outcome.encode())

    def check(self, path: Path, case: Case) -> str | None:
        """End so."""
        outcome = Outcome(case.content.decode())
        if outcome == Outcome.CLEAN:
            raise ValueError(f"{path} is wrong")
        if outcome == Outcome.NAMELESS:
            raise OSError("something is wrong")
        if outcome == Outcome.UNCAUGHT:
            raise KeyError("x")
        if outcome == Outcome.HANG:
            tempfile.mkdtemp()
            time.sleep(60)
        if outcome == Outcome.DIED:
            os._exit(9)
        return "wrong" if outcome == Outcome.NONSENSE else None


@pytest.mark.gate
def test_every_case_is_told_as_what_it_is_also_after_one_that_hangs_or_dies() -> None:
    kind, seed, number = EveryOutcome(), 3, 16
    expected = [draw(kind, seed, index).title for index in range(number)]
    assert {Outcome.HANG, Outcome.DIED, Outcome.NAMELESS} <= set(expected[:-1])
    found = dict(verdicts(kind, seed=seed, numbers=range(number)))
    assert [found[index].outcome for index in range(number)] == expected


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kind, numbers = EveryOutcome(), range(10)
    kind.seconds = 1.0
    assert {Outcome.HANG, Outcome.DIED} <= {verdict.outcome for _, verdict in verdicts(kind, seed=3, numbers=numbers)}
    assert not list(tmp_path.iterdir())


@pytest.mark.gate
def test_bad_inputs_are_kept_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = report(EveryOutcome(), seed=5, number=6, output=tmp_path)
    assert sum(counts.values()) == 6
    kept = {path.name for path in (tmp_path / "every").glob("*.txt")}
    assert len(kept) == 6 - counts[Outcome.CLEAN] - counts[Outcome.ACCEPTED]
    assert "every: 6 cases of seed 5" in capsys.readouterr().out


def test_equal_seeds_draw_equal_inputs() -> None:
    kind = Annotations()
    assert [draw(kind, 1, k) for k in range(20)] == [draw(kind, 1, k) for k in range(20)]
    assert [draw(kind, 1, k) for k in range(20)] != [draw(kind, 2, k) for k in range(20)]


def test_a_sound_checkpoint_is_accepted(tmp_path: Path) -> None:
    assert judge(Checkpoints(), Case("sound", saved(sound())), tmp_path).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize("name", SOUND)
def test_the_sound_files_of_a_run_are_accepted(tmp_path: Path, name: str) -> None:
    assert judge(Sides(), Case(f"{name}|sound", dump(SOUND[name])), tmp_path).outcome == Outcome.ACCEPTED


@pytest.fixture(scope="module")
def images() -> Images:
    return Images()


@pytest.mark.parametrize("name", ["JPEG RGB", "PNG P", "WEBP RGB", "TIFF CMYK", "BMP L", "GIF P"])
def test_a_sound_image_is_accepted(images: Images, tmp_path: Path, name: str) -> None:
    assert judge(images, Case(name, images.sound[name]), tmp_path).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize("layout", ["coco", "lvis"])
def test_a_sound_file_is_accepted_and_another_content_is_noticed(tmp_path: Path, layout: str) -> None:
    tree = document() if layout == "coco" else lvis_document()
    path = tmp_path / "sound.json"
    path.write_bytes(dump(tree))
    assert judge(Annotations(), Case(layout, dump(tree)), tmp_path).outcome == Outcome.ACCEPTED
    read = read_coco(path, layout=layout)  # type: ignore[arg-type]
    assert disagreement(read, path.read_bytes(), layout) is None
    moved = replace(read, boxes=read.boxes + np.float32(1))
    assert disagreement(moved, path.read_bytes(), layout) == "other boxes"
    tree["annotations"][0]["iscrowd"] = True
    assert disagreement(read, json.dumps(tree).encode(), layout) == "accepted iscrowd True"


@pytest.mark.gate
def test_a_number_that_nothing_refuses_before_images_are_looked_for_is_noticed(tmp_path: Path) -> None:
    overrides = Overrides()
    taken = judge(overrides, Case("", b"trainer.max_epochs=3"), tmp_path)
    assert taken.outcome == Outcome.ACCEPTED
    refused = judge(overrides, Case("", b"model.encoder.num_layers=-inf", names=("num_layers",)), tmp_path)
    assert (refused.outcome, "num_layers" in refused.detail) == (Outcome.CLEAN, True)
