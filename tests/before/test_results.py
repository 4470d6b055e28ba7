"""A study, a sweep, predictions and published weights of an older state of the code are read as they stand."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deta.runs.state import RunState, read_status
from scripts.reference.make_stored import SEARCH, SMALL
from tests.before.stored import unpack
from tests.commands.running import succeed


def test_stored_predictions_give_the_metrics_that_were_stored_with_them(tmp_path: Path) -> None:
    folder = unpack("predictions", tmp_path)
    words = ("--from", str(folder), f"data.val_annotations={folder}/annotations.json")
    succeed("eval", *words, f"hydra.run.dir={tmp_path}/again")
    expected = json.loads((folder / "metrics.json").read_text())
    assert json.loads((tmp_path / "again" / "metrics.json").read_text()) == pytest.approx(expected, nan_ok=True)


def test_a_stored_study_is_collected_to_the_table_that_it_had(tmp_path: Path) -> None:
    folder = unpack("study", tmp_path)
    table = folder / "report" / "table.csv"
    expected = _rows(table)
    table.unlink()
    succeed("study", "study=normalizer_shapes", "action=collect", f"folder={folder}")
    found = _rows(table)
    for row, before in zip(found, expected, strict=True):
        if row["verdict"] == "identical":  # what was called unclear then, of no difference at all
            assert float(row["AP_difference"]) == 0
            assert before["verdict"] not in ("", "identical")
            row["verdict"] = before["verdict"]
    assert found == expected


def test_runs_of_a_stored_study_are_done_and_it_plans_no_other(tmp_path: Path) -> None:
    folder = unpack("study", tmp_path)
    overrides = ",".join(f'"{word}"' for word in (*SMALL, "schedule.make.milestones=[1]"))
    words = ("study.seeds=[0,1]", 'study.budget=["trainer.max_epochs=1"]', f"overrides=[{overrides}]")
    shown = succeed("study", "study=normalizer_shapes", *words, "action=plan", f"folder={folder}").out
    assert shown.count(": done") == 4
    assert ": missing" not in shown


@pytest.mark.parametrize("name", ["sweep", "study"])
def test_a_stored_folder_of_runs_is_listed_and_reported(name: str, tmp_path: Path) -> None:
    folder = unpack(name, tmp_path)
    listed = succeed("runs", f"folder={folder}").out
    assert listed.count(" done ") == 4
    report = succeed("report", str(folder), f"out={tmp_path}/report")
    assert any((tmp_path / "report").glob("*.html")), report.out


@pytest.mark.slow
def test_a_stored_sweep_given_again_skips_every_run(tmp_path: Path) -> None:
    folder = unpack("sweep", tmp_path)
    runs = sorted(path.parent for path in folder.glob("*/words.json"))
    common = [word for word in json.loads((runs[0] / "words.json").read_text()) if "assigner" not in word]
    axes = ["criterion.layer_assigner.tau=.4,.6", "assigner@criterion.proposal_assigner=iou_proposals,hungarian"]
    times = {run: (run / "done.json").stat().st_mtime_ns for run in runs}
    succeed("train", "-m", *common, *axes, f"hydra.sweep.dir={folder}")
    assert {path.parent for path in folder.glob("*/words.json")} == set(runs)
    assert all(read_status(run).state == RunState.DONE for run in runs)
    assert {run: (run / "done.json").stat().st_mtime_ns for run in runs} == times


def test_a_stored_search_given_again_has_all_of_its_trials(tmp_path: Path) -> None:
    folder = unpack("search", tmp_path)
    trials = folder / "trials.csv"
    expected = trials.read_bytes()
    words = ("search=tau_n", "experiment=deta_shapes", *SMALL, *SEARCH, f"hydra.run.dir={folder}")
    shown = succeed("search", *words).out
    assert "2 complete" in shown
    assert "trial 2" not in shown
    assert trials.read_bytes() == expected


def test_published_weights_are_converted_to_the_last_bit(tmp_path: Path) -> None:
    source, target = unpack("published.pth", tmp_path), tmp_path / "converted.ckpt"
    succeed("convert", "experiment=deta_shapes", *SMALL, f"source={source}", f"target={target}")
    published = torch.load(source, weights_only=True)["model"]
    converted = torch.load(target, weights_only=True)["state_dict"]
    assert _contents(converted) == _contents(published)


def _contents(state: Mapping[str, Tensor]) -> set[tuple[torch.Size, bytes]]:
    """All different tensors; publications hold some of them twice."""
    return {(value.shape, value.contiguous().numpy().tobytes()) for value in state.values()}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
