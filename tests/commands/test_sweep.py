"""Sweeps: where their runs lie, what is done again, what is not, and what failure leaves."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from deta.cli import config_dir
from deta.commands.naming import register_resolvers, run_name
from deta.engine.runs import RunState, find_runs, read_cells, read_status
from deta.engine.tracking import read_metrics
from tests.commands.running import TINY_TRAINING, Outcome, deta, fail, succeed

AXIS = "criterion.layer_assigner.tau"


def name_of(*overrides: str) -> str:
    """The name that these overrides of the demo would give."""
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", ["experiment=deta_shapes", *overrides], return_hydra_config=True)
        return run_name(_root_=cfg)


def sweep(folder: Path, *words: str) -> Outcome:
    return deta("train", "-m", *TINY_TRAINING, f"hydra.sweep.dir={folder}", *words)


def states(folder: Path) -> dict[str, RunState]:
    return {path.name.partition("-")[0]: read_status(path).state for path in find_runs(folder)}


def test_a_name_tells_what_differs_and_the_seed() -> None:
    assert name_of().startswith("s0-")
    assert name_of(f"{AXIS}=0.5", "seed=3").startswith("tau0.5-s3-")
    assert name_of("model.hidden_dim=64").startswith("hidden_dim64-s0-")
    assert name_of("criterion=hungarian").startswith("hungarian-")
    both = name_of(f"{AXIS}=0.5", "criterion.proposal_assigner.tau=0.8")
    assert both.startswith("layer_assigner.tau0.5-proposal_assigner.tau0.8-s0-")


def test_the_order_and_written_defaults_change_no_name() -> None:
    plain = name_of(f"{AXIS}=0.5", "data.batch_size=2")
    assert name_of("data.batch_size=2", f"{AXIS}=0.5") == plain
    assert name_of("data.batch_size=2", f"{AXIS}=0.5", "seed=0", "criterion.layer_assigner.gamma=0.25") == plain


@pytest.mark.parametrize(
    "override", ["logger=file", "data.num_workers=0", "trainer.enable_progress_bar=false", "paths.runs=elsewhere"]
)
def test_what_changes_no_result_changes_no_name(override: str) -> None:
    assert name_of(override) == name_of()


@pytest.mark.parametrize("override", ["trainer.max_epochs=3", "optimizer.lr=1e-3", "data.num_train=8", "seed=1"])
def test_what_changes_the_result_changes_the_hash(override: str) -> None:
    assert name_of(override).rpartition("-")[2] != name_of().rpartition("-")[2]


def test_a_sweep_does_every_run_once(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, f"{AXIS}=0.5,0.7")
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().endswith("2 done")
    assert states(tmp_path) == {"tau0.5": RunState.DONE, "tau0.7": RunState.DONE}
    assert set(read_cells(tmp_path)) == {path.name for path in find_runs(tmp_path)}
    before = {path: (path / "metrics.jsonl").read_bytes() for path in find_runs(tmp_path)}
    again = sweep(tmp_path, f"{AXIS}=0.5,0.7,0.9")
    assert again.out.count("done, skipped") == 2
    assert again.out.rstrip().endswith("3 done")
    assert {path: (path / "metrics.jsonl").read_bytes() for path in before} == before


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    sweep(tmp_path, f"{AXIS}=0.5")
    (run,) = find_runs(tmp_path)
    whole = read_metrics(run / "metrics.jsonl")
    (run / "done.json").unlink()  # as after kill -9, with a checkpoint left
    assert read_status(run).state == RunState.RESUMABLE
    assert sweep(tmp_path, f"{AXIS}=0.5").code == 0
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl")] == [row["step"] for row in whole]
    assert read_status(run).state == RunState.DONE


def test_a_failed_run_stops_no_other_and_is_named_at_the_end(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, f"{AXIS}=2,0.5")
    assert outcome.code == 1
    assert states(tmp_path) == {"tau2": RunState.FAILED, "tau0.5": RunState.DONE}
    assert "1 done, 1 failed" in outcome.out
    line = next(line for line in outcome.out.splitlines() if line.startswith("tau2"))
    assert "criterion.layer_assigner: tau must be in [0, 1], got 2" in line


def test_runs_are_listed_and_what_is_missing_is_done(tmp_path: Path) -> None:
    sweep(tmp_path, f"{AXIS}=0.5")
    (done,) = find_runs(tmp_path)
    cells = read_cells(tmp_path)
    missing = done.name.replace("tau0.5", "tau0.6")
    words = [word.replace(f"{AXIS}=0.5", f"{AXIS}=0.6") for word in cells[done.name]]
    (tmp_path / "cells.json").write_text(json.dumps({**cells, missing: words}))
    listed = succeed("runs", f"folder={tmp_path}").out
    assert f"{done.name}  done" in listed
    assert f"{missing}  missing" in listed
    assert "1 done, 1 missing" in listed
    planned = succeed("runs", "resume", f"folder={tmp_path}", "dry_run=true").out
    assert f"{AXIS}=0.6" in planned
    assert f"hydra.run.dir='{tmp_path / missing}'" in planned
    assert f"{AXIS}=0.5" not in planned


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path}/nowhere is not a folder" in fail("runs", f"folder={tmp_path}/nowhere")
