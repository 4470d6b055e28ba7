"""``deta weights``, and published weights by name in every command that takes weights."""

import json
import logging
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch

from deta.building.build import empty_detector, make_detector, plain
from deta.building.published import category_of_output, coco_names, compose_published, published_model
from deta.building.start import read_weights, start_from
from deta.console.composing import compose
from deta.models.releases import layouts_of
from deta.training.checkpoint import read_checkpoint
from deta.zoo import Entry, entries, table
from tests.commands.running import SMALL_MODEL, TINY_TRAINING, fail, succeed
from tests.commands.test_convert import release_state
from tests.commands.test_predict import photo
from tests.models.tiny import tiny_detector
from tests.zoo.server import Served, served


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The publisher of a small DETA for COCO, ``tiny``, which is all of the table."""
    content = BytesIO()
    torch.save({"model": dict(release_state())}, content)
    with served(tiny_pth=content.getvalue()) as running:
        words = ("system=deta", "size=shapes", *SMALL_MODEL)
        tiny = Entry("tiny", words, "https://github.com/a/b", "MIT", ap=50.1, url=f"{running.url}/tiny.pth")
        monkeypatch.setattr(table, "entries", lambda: {"tiny": tiny})
        for module in ("building.published", "commands.weights_list"):
            monkeypatch.setattr(f"deta.{module}.entries", lambda: {"tiny": tiny})
        yield running


def test_the_list_tells_names_facts_and_where_files_are() -> None:
    whole = succeed("weights", "list").out
    row = next(line for line in whole.splitlines() if line.startswith("detr_r50_500ep "))
    assert row.split() == ["detr_r50_500ep", "detr", "42.0", "159Mb", "Apache-2.0", "download"]
    assert "browser" in next(line for line in whole.splitlines() if line.startswith("deta_r50_12ep "))
    one = succeed("weights", "list", "detr_r50_500ep").out
    assert "sha256   e632da11   (https://github.com/facebookresearch/detr/blob/" in one
    assert "detr_r50_500ep " in succeed("weights", "list", "500").out
    some = succeed("weights", "list", "yolox").out.splitlines()
    assert all("yolox" in line for line in some[1 : some.index("")])
    assert "no published weights named detr_r50_500epp; did you mean detr_r50_500ep?" in fail(
        "weights", "list", "detr_r50_500epp"
    )


def test_weights_are_got_once_and_known_from_then_on(server: Served, workplace: Path) -> None:
    path = workplace / "cache" / "weights" / "tiny.pth"
    path.unlink(missing_ok=True)
    assert f"{path}: tiny, MIT (https://github.com/a/b)" in succeed("weights", "get", "tiny").out
    succeed("weights", "get", "tiny")
    assert len(server.asked) == 1
    assert "here" in succeed("weights", "list").out
    assert "did you mean tiny" in fail("weights", "get", "tinny")


def test_weights_by_name_are_converted_looked_with_and_exported(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed("convert", "source=tiny", f"target={tmp_path}/tiny.ckpt")
    converted = read_checkpoint(tmp_path / "tiny.ckpt")
    assert len(converted.category_ids) == 91
    picture = photo(tmp_path / "a.png", height=64, width=64)
    common = (f"source={picture}", "min_score=0", "draw=false")
    for name in ("tiny", f"{tmp_path}/tiny.ckpt"):
        folder = tmp_path / Path(name).stem
        succeed("predict", f"ckpt={name}", *common, f"hydra.run.dir={folder}_{len(name)}")
    first, second = (json.loads(path.read_text()) for path in tmp_path.glob("tiny_*/predictions.json"))
    assert first == second
    assert len(first) > 0
    assert {record["category_id"] for record in first} <= coco_names().keys()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.onnx").touch()
    assert "target=tiny.onnx exists" in fail("export", "tiny")


def test_what_is_neither_path_nor_name_is_told_the_nearest_name(server: Served, tmp_path: Path) -> None:
    for words in (("eval", "ckpt=tinny"), ("predict", "ckpt=tinny", f"source={photo(tmp_path / 'a.png')}")):
        message = fail(*words, f"hydra.run.dir={tmp_path}/run")
        assert "or a name of published weights (did you mean tiny? deta weights list shows all)" in message


def test_weights_of_another_system_name_the_words_of_theirs(server: Served) -> None:
    plain = tiny_detector(learned=True, refine="none")
    with pytest.raises(ValueError, match=r"weights=tiny: .*They are for: system=deta size=shapes model\."):
        read_weights("tiny", plain)


def test_a_training_starts_from_a_name_and_takes_over_the_classes_that_both_have(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose("train", [*TINY_TRAINING, "weights=tiny", "class_heads=by_name"])
    names = ("circle", " Person", "ring")
    detector = make_detector(plain(cfg.model), len(names))
    with caplog.at_level(logging.INFO):
        start_from(cfg, detector, names)
    assert "1 of 3 classes taken over by name:  Person" in caplog.text
    assert "2 classes start fresh: circle, ring" in caplog.text
    found, published = detector.state_dict(), release_state()
    assert torch.equal(found["body.source.memory_projection.weight"], published["transformer.enc_output.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("weights", entries().values(), ids=lambda weights: weights.name)
def test_the_words_of_weights_make_a_model_of_a_published_layout(weights: Entry) -> None:
    cfg = compose_published(weights)
    detector = empty_detector(published_model(cfg), cfg.num_classes)
    assert layouts_of(detector.state_dict())
    assert len(category_of_output(cfg.num_classes, coco_names())) == cfg.num_classes
