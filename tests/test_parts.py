"""The package that the page on parts of one's own shows, built and installed, works as it stands."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.models import LearnedBoxes
from deta.runs.folders import find_runs
from deta.testing import check_group, check_term
from deta.tracking.metrics import read_metrics
from tests.assign.scenes import assigned, random_scene
from tests.commands.running import TINY_TRAINING, succeed
from tests.own_package import PACKAGE, PAGE, write_package

OWN = f"hydra.searchpath=[pkg://{PACKAGE}.conf]"
AXIS = "assigner@criterion.rules.layers.assigner"
RULE = f"{PACKAGE}.NearestAssigner"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package, with its wheel installed in ``site``."""
    folder = tmp_path_factory.mktemp("project")
    assert len(write_package(folder)) == 7
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    # It needs deta, which is here already: nothing is looked for elsewhere.
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*install, "--target", str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder


@pytest.fixture
def rule(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The class, of the installed package."""
    monkeypatch.syspath_prepend(project / "site")
    monkeypatch.setenv("PYTHONPATH", f"{project / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    module = import_module(PACKAGE)
    assert str(project / "site") in str(module.__file__)
    yield module.NearestAssigner
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.mark.usefixtures("rule")
def test_the_test_of_the_package_passes(project: Path) -> None:
    content: dict[str, Any] = {}
    exec((project / "tests" / "test_nearest_rule.py").read_text(), content)
    content["test_the_rule_does_what_every_rule_must"]()


@pytest.mark.usefixtures("rule")
def test_the_term_of_the_page_does_what_every_term_must() -> None:
    check_term(import_module(f"{PACKAGE}.terms").CentreLoss(weight=2.0))


@pytest.mark.usefixtures("rule")
def test_the_queries_of_the_page_do_what_every_group_must() -> None:
    group = import_module(f"{PACKAGE}.queries").ShakenQueries
    check_group(group, partial(LearnedBoxes, hidden_dim=16, num_queries=3, content="learned"))


@pytest.mark.slow
@pytest.mark.usefixtures("rule")
def test_the_queries_of_the_page_are_trained_under_their_role(tmp_path: Path) -> None:
    (words,) = re.findall(r"\+model\.body\.groups\.shaken.*?(?=\n```)", PAGE.read_text(), re.DOTALL)
    succeed("train", *TINY_TRAINING, *words.replace("\\\n", " ").split(), f"hydra.run.dir={tmp_path / 'run'}")
    logged = {key for row in read_metrics(tmp_path / "run" / "metrics.jsonl") for key in row}
    assert {"train/shaken/layer0/giou", "assign/shaken/layers/positives_per_object"} <= logged


def test_the_rule_gives_every_object_its_nearest_boxes(rule: Any) -> None:  # noqa: ANN401 - of another package
    prediction, targets = random_scene(0)
    matches = assigned(rule(n=1), prediction, targets)
    for image, count in enumerate(targets.is_object.sum(1).tolist()):
        centres, boxes = targets.boxes[image, :count, :2], prediction.priors[image, :, :2]
        distance = torch.cdist(centres, boxes).masked_fill(~prediction.can_match()[image], torch.inf)
        nearest = [int(row.argmin()) for row in distance]
        assert set((matches.target[image] >= 0).nonzero().flatten().tolist()) == set(nearest)
        wanted_twice = {box for box in nearest if nearest.count(box) > 1}
        assert set(matches.notes["wanted_twice"][image].nonzero().flatten().tolist()) == wanted_twice


@pytest.mark.usefixtures("rule")
def test_one_word_brings_the_rule_into_every_command() -> None:
    for group in (AXIS, "assigner@criterion.rules.first.assigner"):
        assert (
            f"_target_: {RULE}\n"
            in succeed("train", "experiment=deta_shapes", OWN, f"{group}=nearest", "--cfg", "job").out
        )


@pytest.mark.gate
@pytest.mark.usefixtures("rule")
def test_the_rule_is_swept_against_a_shipped_one_and_reported_with_its_statistics_and_notes(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    succeed("train", "-m", *TINY_TRAINING, OWN, f"{AXIS}=nearest,iou", f"hydra.sweep.dir={folder}")
    runs = {path.name.partition("-")[0]: path for path in find_runs(folder)}
    assert set(runs) == {"nearest", "iou"}
    statistics, note = "assign/layers/positives_per_object", "assign/layers/wanted_twice_share"
    keys = {name: {key for row in read_metrics(path / "metrics.jsonl") for key in row} for name, path in runs.items()}
    assert all(statistics in logged for logged in keys.values())
    assert note in keys["nearest"] - keys["iou"]
    succeed("report", str(folder), "bootstrap=null")
    table = list(csv.DictReader((folder / "report" / "table.csv").read_text().splitlines()))
    assert {row["assigner"] for row in table} == {"nearest", "iou"}
    page = (folder / "report" / "report.html").read_text()
    for shown in ("nearest", "positives per object", "positives noted as wanted_twice by the rule (share)"):
        assert shown in page
    (runs["nearest"] / "done.json").unlink()
    succeed("train", f"ckpt={runs['nearest']}")  # finds the rule without being told where it lies
    assert (runs["nearest"] / "done.json").is_file()
