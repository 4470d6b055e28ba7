"""A training that starts from another run in a folder of its own."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from deta.commands import launch
from deta.runs.folders import find_runs
from deta.runs.state import RunState, read_status
from deta.training.module import DetectionModule
from tests.commands.conftest import Run
from tests.commands.running import TINY_TRAINING, deta, fail, succeed

LONGER = ("train", *TINY_TRAINING, "trainer.max_epochs=2")


def lines(run: Path) -> list[int]:
    """Steps of the rows of the metrics."""
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_no_run_is_overwritten_by_one_that_starts_from_another(trained: Run, own_run: Path) -> None:
    before = {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()}
    message = fail(*LONGER, f"ckpt={trained.folder}", f"hydra.run.dir={own_run}")
    assert (
        f"{own_run} holds a run of its own, which ckpt={own_run} continues: to start from {trained.folder} name"
        in message
    )
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed <= {"train.log", "hydra.yaml", "overrides.yaml", "config.yaml"}
    assert read_status(own_run).state == RunState.DONE


def test_the_command_of_a_run_that_started_from_another_continues_it(trained: Run, tmp_path: Path) -> None:
    command = (*LONGER, f"ckpt={trained.folder}", f"hydra.run.dir={tmp_path}/new")
    succeed(*command)
    steps = lines(tmp_path / "new")
    assert min(steps) == 2
    assert "done, skipped" in succeed(*command).out
    (tmp_path / "new" / "done.json").unlink()
    succeed(*command)
    assert lines(tmp_path / "new") == steps


AGAIN = [("train", "ckpt=auto"), pytest.param(("runs", "resume"), marks=pytest.mark.gate)]
"""Commands after which an unfinished run goes on."""


def go_on(words: tuple[str, ...], folder: Path) -> None:
    """Do what is left of a run."""
    if words[0] == "train":
        succeed(*LONGER, *words[1:], f"hydra.run.dir={folder}")
    else:
        succeed(*words, f"folder={folder.parent}")


def test_a_run_that_started_from_another_and_died_early_starts_from_it_again(trained: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    succeed(*LONGER, f"ckpt={trained.folder}", f"hydra.run.dir={folder}")
    steps = lines(folder)
    for path in (folder / "checkpoints").glob("*"):
        path.unlink()
    (folder / "done.json").unlink()
    go_on(("train", "ckpt=auto"), folder)
    assert lines(folder) == steps


@pytest.mark.parametrize("words", AGAIN, ids=" ".join)
def test_a_run_that_was_to_start_from_another_does_so_after_dying_before_its_first_step(
    words: tuple[str, ...], trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    monkeypatch.chdir(trained.folder.parent)
    command = (*LONGER, f"ckpt={trained.folder.name}", f"hydra.run.dir={folder}")
    with monkeypatch.context() as patch:
        patch.setattr(launch, "_train", lambda _: sys.exit(137))
        assert deta(*command).code == 137
    with monkeypatch.context() as patch:
        patch.setattr(DetectionModule, "training_step", lambda *_: int("not in the first step"))
        assert "not in the first step" in fail(*command)
    monkeypatch.chdir(tmp_path)
    go_on(words, folder)
    assert min(lines(folder)) == 2


def test_a_run_is_not_started_where_nothing_is_left(trained: Run, tmp_path: Path) -> None:
    message = fail("train", *TINY_TRAINING, f"ckpt={trained.folder}", f"hydra.run.dir={tmp_path}/new")
    assert (
        f"nothing is left to train from ckpt={trained.folder}, which is done: give trainer.max_epochs above 1"
        in message
    )
    assert read_status(tmp_path / "new").state == RunState.MISSING


def test_a_run_does_not_start_from_another_and_from_weights(trained: Run, tmp_path: Path) -> None:
    words = (f"ckpt={trained.folder}", f"weights={trained.folder}", f"hydra.run.dir={tmp_path}/new")
    assert f"weights={trained.folder} starts a run, but ckpt={trained.folder} continues one" in fail(*LONGER, *words)


@pytest.mark.parametrize("prefix", ["", "++"])
def test_a_job_starts_from_the_same_run(prefix: str, trained: Run, tmp_path: Path) -> None:
    told = succeed(*LONGER, f"{prefix}ckpt={trained.folder}", "dry_run=true", f"hydra.run.dir={tmp_path}/new").out
    assert f"ckpt={trained.folder}" in told
    assert "ckpt=auto" not in told


@pytest.mark.gate
def test_a_sweep_from_a_run_does_every_cell_once(trained: Run, tmp_path: Path) -> None:
    rates = "optimizer.lr=1e-3,1e-5"
    sweep = (*LONGER, "-m", rates, f"hydra.sweep.dir={tmp_path}")
    succeed(*sweep, f"ckpt={trained.folder}")
    cells = find_runs(tmp_path)
    steps = {run: lines(run) for run in cells}
    assert len(cells) == 2
    assert all(min(each) == 2 for each in steps.values())
    assert succeed(*sweep, f"ckpt={trained.folder}").out.count("done, skipped") == 2
    assert {run: lines(run) for run in cells} == steps
    other = fail(*sweep, f"ckpt={cells[0]}")
    assert f"{cells[1]} holds a run of its own" in other
    succeed(*sweep, f"ckpt={trained.folder}")
    shutil.rmtree(cells[1])
    assert f"ckpt={trained.folder}" in succeed("runs", "resume", f"folder={tmp_path}", "dry_run=true").out


@pytest.mark.gate
def test_a_sweep_starts_from_several_runs(trained: Run, own_run: Path, tmp_path: Path) -> None:
    starts = f"ckpt={trained.folder},{own_run}"
    succeed(*LONGER, "-m", starts, f"hydra.sweep.dir={tmp_path}/runs")
    runs = find_runs(tmp_path / "runs")
    assert len(runs) == 2
    assert all(min(lines(run)) == 2 for run in runs)


@pytest.mark.parametrize("name", [pytest.param("lr${optimizer.lr}", marks=pytest.mark.gate), "${hydra.job.num}"])
def test_a_sweep_with_names_of_its_own_takes_no_run_of_other_settings_for_its_own(name: str, tmp_path: Path) -> None:
    sweep = ("train", "-m", *TINY_TRAINING, f"hydra.sweep.dir={tmp_path}", f"hydra.sweep.subdir={name}", "seed=0,1")
    if "lr" in name:
        sweep = (*sweep[:-1], "optimizer.lr=1e-3,1e-4")
    told = succeed(*sweep).out
    assert "2 done" in told
    assert "beside" not in told
    assert succeed(*sweep).out.count("done, skipped") == 2
    words = (tmp_path / "cells.json").read_text()
    message = fail(*sweep, "criterion.rules.layers.assigner.tau=0.3")
    assert (tmp_path / "cells.json").read_text() == words
    assert message.count("is done, with other settings than these words have: ") == 2
    assert "tau 0.5 -> 0.3" in message or "tau 0.6 -> 0.3" in message


def test_the_order_of_words_and_own_files_are_settings(tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    own = tmp_path / "conf" / "experiment" / "mine.yaml"
    own.write_text("# @package _global_\ndefaults: [deta_shapes]\noptimizer:\n  lr: 0.001\n")
    words = [f"--config-dir={tmp_path}/conf", "experiment=mine", *TINY_TRAINING[1:], "ckpt=auto"]
    command = ("train", *words, f"hydra.run.dir={tmp_path}/run", "seed=1", "seed=2")
    succeed(*command)
    assert "done, skipped" in succeed(*command).out
    assert "seed 2 -> 1" in fail(*command[:-2], "seed=2", "seed=1")
    own.write_text(own.read_text().replace("0.001", "0.002"))
    assert "optimizer.lr 0.001 -> 0.002" in fail(*command)


@pytest.mark.gate
def test_a_run_that_dies_while_packages_are_imported_is_done_by_its_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a run"
    with monkeypatch.context() as patch:
        patch.setattr(launch, "_train", lambda _: sys.exit(137))
        assert deta("train", *TINY_TRAINING, f"hydra.run.dir={folder}").code == 137
    message = fail("train", f"ckpt={folder}")
    assert f"{folder} has saved nothing yet: deta runs resume 'folder={folder}' starts it again" in message
    succeed("runs", "resume", f"folder={folder}")
    assert read_status(folder).state == RunState.DONE
