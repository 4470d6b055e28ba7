"""What is wrong with the words of a command is found before data are read, jobs wait or the first of many trains."""

import os
from pathlib import Path

import pytest

from deta.building.tried_step import require_step
from tests.commands.running import deta, fail, succeed

TAU = "criterion.rules.layers.assigner.tau"
NO_DATA = ("data=coco", "data.root=/nonexistent")
TRAINING = ("experiment=deta_shapes", "logger=file", *NO_DATA)
STUDY = ("study", "study=tau2_shapes", "study.seeds=[0]", "study.axes.tau2.levels=[0.6,0.8]")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster that says what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in ("sbatch", "scontrol"):
        (folder / command).write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\necho 7\n')
        (folder / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "asked"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (f"{TAU}=1.5", "criterion.rules.layers.assigner: tau must be in [0, 1], got 1.5"),
        ("criterion.normalizer=mean", "normalizer must be one of"),
        ("postprocess.iou_threshold=-1", "postprocess: iou_threshold must be"),
        ("schedule.make.gamma=x", "schedule.make.gamma must be a number, got 'x'"),
        ("schedule.make.milestones=[2,x]", "schedule.make.milestones: each must be an integer, got 'x'"),
        ("schedule.interval=day", "schedule.interval must be one of epoch, step, got 'day'"),
        ("optimizer.lr=-1", "optimizer.lr must be at least 0, got -1"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be at least 1, got 0"),
        ("callbacks.resume.every_n_steps=0", "every_n_steps must be at least 1, got 0"),
        ("callbacks.progress.refresh_rate={a:1}", "callbacks.progress.refresh_rate must be an integer, got {'a': 1}"),
        ("data.batch_size=0", "data.batch_size must be at least 1, got 0"),
        ("model.encoder.num_layers=-1", "num_layers must be"),
        ("+postprocess@evaluations.one=nms evaluations.one.iou_threshold=7", "iou_threshold must be"),
    ],
)
def test_a_dry_run_finds_a_wrong_value_without_any_data(word: str, message: str, tmp_path: Path) -> None:
    place = f"hydra.run.dir={tmp_path}/run"
    assert message in fail("train", *TRAINING, *word.split(), "dry_run=true", place)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_once_of_all_runs_that_their_data_are_not_here(tmp_path: Path) -> None:
    outcome = deta("train", "-m", *TRAINING, "seed=0,1", "dry_run=true", f"hydra.sweep.dir={tmp_path}/sweep")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("deta: on this machine ") == 1
    assert "does not exist" in outcome.err


def test_a_dry_run_tries_whether_choices_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deta.building.build.require_step", require_step)  # as it is
    words = ("system=deta", "size=shapes", *NO_DATA, "rule@first=gaussian", "dry_run=true")
    message = fail("train", *words, f"hydra.run.dir={tmp_path}/run")
    assert "criterion.rules.first does not suit model.body (QueryBody): GaussianAssigner needs" in message


def test_a_dry_sweep_tells_what_is_wrong_and_the_commands_of_the_rest(tmp_path: Path) -> None:
    place = f"hydra.sweep.dir={tmp_path}/sweep"
    outcome = deta("train", "-m", *TRAINING, f"{TAU}=0.5,1.5", "dry_run=true", place)
    assert outcome.code == 1
    assert "tau must be in [0, 1], got 1.5" in outcome.err
    assert [line.count(f"{TAU}=0.5") for line in outcome.out.splitlines() if line.startswith("deta train")] == [1]


def test_a_wrong_value_is_not_submitted(commands: Path, tmp_path: Path) -> None:
    place = f"hydra.run.dir={tmp_path}/run"
    assert "tau must be in [0, 1]" in fail("train", *TRAINING, f"{TAU}=1.5", "cluster=sbatch", place)
    assert not commands.exists()


@pytest.mark.parametrize("more", ["dry_run=true", "action=run"])
def test_a_wrong_value_in_one_cell_of_a_study_is_found_before_any_trains(more: str, tmp_path: Path) -> None:
    message = fail(*STUDY, "study.axes.tau2.levels=[0.6,1.8]", more, f"folder={tmp_path}/study")
    assert "tau2=1.8: criterion.rules.layers.assigner: tau must be in [0, 1], got 1.8" in message
    assert not (tmp_path / "study").exists()


def test_a_study_without_its_data_begins_nothing(tmp_path: Path) -> None:
    message = fail(*STUDY, *NO_DATA, f"folder={tmp_path}/study")
    assert "annotation file /nonexistent/annotations/instances_train2017.json does not exist" in message
    assert not (tmp_path / "study").exists()
    dry = succeed(*STUDY, *NO_DATA, "dry_run=true", f"folder={tmp_path}/study")
    assert dry.out.count("deta train") == 2


def test_a_search_finds_what_is_wrong_with_all_its_trials_before_the_first(tmp_path: Path) -> None:
    words = ("search", "search=lr", "experiment=deta_shapes", "logger=file", f"hydra.run.dir={tmp_path}/search")
    assert "tau must be in [0, 1], got 1.5" in fail(*words, f"{TAU}=1.5")
    assert "annotation file /nonexistent/annotations/instances_train2017.json does" in fail(*words, *NO_DATA)
    assert not list(tmp_path.glob("search/trial*"))


def test_an_evaluation_misses_annotations_before_it_reads_a_checkpoint(tmp_path: Path) -> None:
    words = (*NO_DATA, "ckpt=/nonexistent.ckpt", f"hydra.run.dir={tmp_path}/eval")
    assert "annotation file /nonexistent/annotations/instances_val2017.json does not exist" in fail("eval", *words)
