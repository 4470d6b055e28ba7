"""What is done with a run directory is decided by who holds it, as it is then."""

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from deta.commands import launch
from deta.console.catalogue import COMMANDS
from deta.runs.claims import is_held, release
from deta.runs.folders import LOGS_OF_OTHERS, find_runs
from deta.runs.state import RunState, RunStatus, is_done, mark_done, read_status
from deta.studies.conf import config_dir
from tests.commands.conftest import Run
from tests.commands.running import TINY_TRAINING, deta, fail, succeed
from tests.commands.test_predict import photo
from tests.runs.claimed import signs_of_life, write_claim

CONFIG = {"ckpt": "auto", "trainer": {"devices": 1, "num_nodes": 1}}


@pytest.fixture
def stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The first look shows a run that nobody trains, as another process finds it that was a moment earlier."""
    monkeypatch.setattr(launch, "read_status", lambda folder: RunStatus(folder, RunState.MISSING))
    yield
    release(tmp_path)


def test_a_run_that_another_process_has_just_finished_is_left_as_it_is(stale: None, tmp_path: Path) -> None:
    mark_done(tmp_path, {"step": 2, "AP": 0.5})
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert not launch._prepare(OmegaConf.create(CONFIG), tmp_path)
    assert json.loads((tmp_path / "done.json").read_text()) == {"step": 2, "AP": 0.5}
    assert (tmp_path / "metrics.jsonl").exists()
    assert not is_held(tmp_path)


def test_nothing_of_a_run_that_another_process_has_just_begun_is_removed(stale: None, tmp_path: Path) -> None:
    started = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]
    place = {"host": socket.gethostname(), "pid": os.getppid(), "started": started, "job": None, "life": 0}
    (tmp_path / "running.json").write_text(json.dumps(place))
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert not launch._prepare(OmegaConf.create(CONFIG), tmp_path)
    assert (tmp_path / "metrics.jsonl").exists()
    assert json.loads((tmp_path / "running.json").read_text()) == place


@pytest.mark.parametrize("age", [0.0, 0.2, 86400.0])
def test_a_dead_claim_of_another_machine_is_taken_over_however_fresh_its_file_looks(age: float, tmp_path: Path) -> None:
    claimed = tmp_path / "running.json"
    write_claim(claimed, lease=0.4)
    os.utime(claimed, (time.time() - age, time.time() - age))
    start = time.monotonic()
    assert launch._prepare(OmegaConf.create(CONFIG), tmp_path)
    assert time.monotonic() - start >= 0.4
    assert is_held(tmp_path)
    release(tmp_path)


@pytest.mark.parametrize("age", [-86400.0, 0.0, 86400.0])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_living_claim_of_another_machine_is_left_alone_by_every_rank_however_old_its_file_looks(
    age: float, rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "running.json"
    write_claim(path, lease=30.0)
    task = {"SLURM_JOB_ID": "7", "SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": "2"}
    for name, value in task.items():
        monkeypatch.setenv(name, value)
    ranks = OmegaConf.create({"ckpt": "auto", "trainer": {"devices": 2, "num_nodes": 1}})
    with signs_of_life(path, age=age):
        assert not launch._prepare(ranks, tmp_path)
    assert f"{tmp_path}: running, skipped process 1 on elsewhere" in capsys.readouterr().out
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_the_second_rank_decides_as_the_first_of_a_dead_claim_of_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_claim(tmp_path / "running.json", lease=0.4)
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    ranks = OmegaConf.create({"ckpt": "auto", "trainer": {"devices": 2, "num_nodes": 1}})
    assert launch._prepare(ranks, tmp_path)
    assert not is_held(tmp_path)


def test_what_died_before_its_first_checkpoint_begins_anew_under_the_claim(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    cfg = OmegaConf.create(CONFIG)
    assert launch._prepare(cfg, tmp_path)
    assert cfg.ckpt is None
    assert is_held(tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()
    release(tmp_path)


def test_no_training_begins_among_the_results_of_another_command(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    words = (*TINY_TRAINING, "ckpt=auto", f"hydra.run.dir={tmp_path}")
    assert f"{tmp_path} holds the results of another command (metrics.json)" in fail("train", *words)
    assert read_status(tmp_path).state == RunState.MISSING


@pytest.fixture(scope="module")
def others(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results of commands that train nothing, by their names."""
    folder = tmp_path_factory.mktemp("others")
    source = photo(folder / "photo.jpg")
    shapes = ("data=shapes", "data.num_train=8", "data.num_val=4")
    predict = ("predict", f"ckpt={trained.folder}", f"source={source}", "outputs=[csv]", "draw=false")
    looks = (("data", name, *shapes) for name in ("assign", "stats", "show"))
    for command, *words in (predict, ("eval", f"ckpt={trained.folder}"), *looks):
        name = f"data_{words[0]}" if command == "data" else command
        succeed(command, *words, f"hydra.run.dir={folder / name}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "word"),
    [
        *((name.removesuffix(".log"), "ckpt=auto") for name in LOGS_OF_OTHERS),
        ("predict", "ckpt=null"),
        ("predict", "dry_run=true"),
        ("predict", "cluster=sbatch"),
    ],
)
def test_no_training_begins_where_another_command_has_written(command: str, word: str, others: Path) -> None:
    folder = others / command
    before = sorted(path.name for path in folder.iterdir())
    error = fail("train", *TINY_TRAINING, word, f"hydra.run.dir={folder}")
    assert f"{folder} holds the results of another command (" in error
    assert f"{command}.log" in error
    assert {path.name for path in folder.iterdir()} - {*before} <= {"train.log"}
    assert "no runs" in succeed("runs", "resume", f"folder={others}").out  # though Hydra has a training on record now


def test_every_command_that_leaves_a_log_beside_its_results_is_known_by_it() -> None:
    configs = {name: config_dir() / f"{name.replace(' ', '_')}.yaml" for name in COMMANDS if name != "train"}
    logged = {path.stem for path in configs.values() if "override hydra/job_logging: stdout" not in path.read_text()}
    assert {f"{name}.log" for name in logged} == {*LOGS_OF_OTHERS}
    for name in logged:
        job = OmegaConf.load(config_dir() / f"{name}.yaml").hydra.job
        assert job.name == name  # by which Hydra calls the log


def test_a_run_that_was_evaluated_into_its_own_folder_is_still_one(own_run: Path) -> None:
    succeed("eval", f"ckpt={own_run}", f"hydra.run.dir={own_run}")
    assert (own_run / "eval.log").exists()
    assert find_runs(own_run) == [own_run]
    assert f"{own_run}: done, skipped" in succeed("train", *TINY_TRAINING, "ckpt=auto", f"hydra.run.dir={own_run}").out


def test_a_wrong_command_is_not_tried_again_but_keeps_no_run_that_has_begun_from_going_on(
    own_run: Path, tmp_path: Path
) -> None:
    fail("train", f"ckpt={own_run}", "trainer.max_epochs=2", "data.batch_size=5000")  # found with the data
    assert is_done(own_run)
    (own_run / "done.json").unlink()
    for words in ((f"ckpt={own_run}",), (*TINY_TRAINING, f"hydra.run.dir={tmp_path}/new")):
        assert "optimizer.lr must be at least 0, got -1" in fail("train", *words, "optimizer.lr=-1")
    assert read_status(own_run).state == RunState.RESUMABLE
    told = succeed("runs", "resume", f"folder={tmp_path}").out
    not_tried = told.partition("Not tried, since their commands would fail again")[2].partition("\n\n")[0]
    assert f"{tmp_path}/new" in not_tried
    assert str(own_run) not in not_tried
    assert is_done(own_run)


def test_a_done_run_is_not_skipped_for_a_command_of_other_settings(own_run: Path) -> None:
    words = ("train", *TINY_TRAINING, "ckpt=auto", f"hydra.run.dir={own_run}")
    message = fail(*words, "optimizer.lr=0.5", "trainer.max_epochs=3")
    assert f"{own_run} is done, with other settings than these words have: " in message
    assert "optimizer.lr 0.0004 -> 0.5" in message
    assert "trainer.max_epochs 1 -> 3" in message
    same = ("callbacks.resume.every_n_steps=7", "data.num_workers=1")  # no result changes
    assert "done, skipped" in succeed(*words, *same).out
    fewer = [word for word in words if not word.startswith("model.body.source.num_queries")]
    assert "model.body.source.num_queries 20 -> 60" in fail(*fewer)
    (own_run / "config.yaml").write_text((own_run / "config.yaml").read_text().replace("lr: 0.0004", "lr: 0.5"))
    assert "done, skipped" in succeed(*words).out  # the same words, of which an earlier version made something else


def test_a_part_that_had_no_step_left_is_on_record_with_its_settings(own_run: Path) -> None:
    (own_run / "done.json").unlink()
    config, words = own_run / "config.yaml", own_run / "words.json"
    config.write_text(config.read_text().replace("max_epochs: 1\n", "max_epochs: 2\n"))  # as if it was to train longer
    words.write_text(words.read_text().replace("trainer.max_epochs=1", "trainer.max_epochs=2"))
    shorter = ("train", *TINY_TRAINING, "ckpt=auto", f"hydra.run.dir={own_run}")
    succeed(*shorter)
    assert "done, skipped" in succeed(*shorter).out
    assert "trainer.max_epochs 1 -> 2" in fail(*shorter, "trainer.max_epochs=2")


@pytest.mark.parametrize(
    ("words", "key"),
    [(("hydra.run.dir={}/run",), "hydra.run.dir"), (("-m", "hydra.sweep.dir={}/runs"), "hydra.sweep.dir")],
)
def test_a_place_that_cannot_be_written_is_one_message(words: tuple[str, ...], key: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = deta("train", *(word.format(tmp_path / "file") for word in words), *TINY_TRAINING)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert f"deta: [Errno 20] Not a directory: '{tmp_path}/file/run" in outcome.err
    assert f"the results cannot be written, give another {key}" in outcome.err


@pytest.mark.parametrize(
    ("words", "key"),
    [((), "hydra.run.dir"), (("-m", "seed=0,1"), "hydra.sweep.dir"), (("dry_run=true",), "hydra.run.dir")],
)
def test_a_name_does_not_lead_out_of_the_folder_of_runs(words: tuple[str, ...], key: str, workplace: Path) -> None:
    outcome = deta("train", *words, "name=a/../../other", *TINY_TRAINING)
    assert outcome.code == 1
    assert outcome.err.startswith(f"deta: name=a/../../other leads out of the folder of runs: give {key}=")
    assert outcome.err.count("\n") == 1
    assert not (workplace / "other").exists()


def test_a_name_of_any_kind_is_no_matter_where_the_folder_is_given(tmp_path: Path) -> None:
    outcome = deta("train", "dry_run=true", "name=../other", f"hydra.run.dir={tmp_path}/run", *TINY_TRAINING)
    assert outcome.code == 0, outcome.err


def test_annotations_that_are_missing_are_told_and_noted_before_packages_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_train", None)
    message = fail("train", "data.root=nowhere", f"hydra.run.dir={tmp_path}")
    assert message.startswith("deta: annotation file nowhere/annotations/instances_train2017.json does not exist")
    assert read_status(tmp_path).state == RunState.FAILED
    assert not is_held(tmp_path)
