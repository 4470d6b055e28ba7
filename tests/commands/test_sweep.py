"""Sweeps: where their runs lie, what is done again, what is not, and what failure leaves."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.types import RunMode

from deta.cli import config_dir
from deta.console.naming import run_name
from deta.console.words import training_words
from deta.runs.cells import read_cells
from deta.runs.folders import find_runs
from deta.runs.state import RunState, read_status
from deta.tracking.metrics import read_metrics
from tests.commands.composed import composed, kept_hydra
from tests.commands.running import TINY_TRAINING, Outcome, deta, fail, succeed

AXIS = "criterion.rules.layers.assigner.tau"


def name_of(*overrides: str, swept: tuple[str, ...] = ()) -> str:
    """The name that these overrides of the demo would give where these keys are swept."""
    with kept_hydra():
        return run_name(*swept, _root_=composed("experiment=deta_shapes", *overrides))


def sweep(folder: Path, *words: str) -> Outcome:
    return deta("train", "-m", *TINY_TRAINING, f"hydra.sweep.dir={folder}", *words)


def states(folder: Path) -> dict[str, RunState]:
    return {path.name.partition("-")[0]: read_status(path).state for path in find_runs(folder)}


def kill_in_the_next_run(command: list[str], folder: Path, num_done: int) -> None:
    """Start a sweep and kill it as soon as so many runs are done and one more has a checkpoint."""
    with (folder / "output.txt").open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 400
        while True:
            is_going = process.poll() is None and time.monotonic() < end
            assert is_going, (folder / "output.txt").read_text()
            done = {path.parent for path in folder.glob("*/done.json")}
            begun = {path.parents[1] for path in folder.glob("*/checkpoints/last.ckpt")}
            if len(done) >= num_done and begun - done:
                return
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


def test_a_name_tells_what_differs_and_the_seed() -> None:
    assert name_of().startswith("s0-")
    assert name_of(f"{AXIS}=0.5", "seed=3").startswith("tau0.5-s3-")
    assert name_of("model.body.hidden_dim=64").startswith("hidden_dim64-s0-")
    assert name_of("rule=hungarian").startswith("hungarian-s0-")
    both = name_of(f"{AXIS}=0.5", "criterion.rules.first.assigner.tau=0.8")
    assert both.startswith("first.tau0.8-layers.tau0.5-s0-")


def test_what_is_swept_stands_first_and_is_named_at_its_default_too() -> None:
    other = ("data.batch_size=2", "model.body.hidden_dim=64", "trainer.max_epochs=3")
    assert name_of(*other, f"{AXIS}=0.6", swept=(AXIS,)).startswith("tau0.6-")
    assert name_of(*other, "optimizer.lr=1e-3", swept=("optimizer.lr",)).startswith("lr0.001-")
    assert name_of("rule=iou", swept=("rule",)).startswith("iou-s0-")
    words = ("rule/first=hungarian", "rule/layers=hungarian")
    assert name_of("rule=hungarian", swept=("rule",))[-8:] == name_of(*words)[-8:]
    for swept in ((), (AXIS,)):
        assert name_of(f"{AXIS}=0.6", swept=swept)[-9:] == name_of()[-9:]


def test_a_name_has_at_most_60_letters_and_a_list_is_a_hash() -> None:
    keys = (
        "model.body.hidden_dim=32",
        "model.body.encoder.num_layers=1",
        "model.body.encoder.ffn_dim=32",
        "model.body.decoder.ffn_dim=32",
    )
    long = name_of(*keys, "data.batch_size=2", "trainer.max_epochs=3", f"{AXIS}=0.5", "seed=12345")
    assert len(long) <= 60
    assert long.startswith("tau0.5-")
    lists = [name_of(f"schedule.make.milestones={value}") for value in ([1, 2], [1, 3])]
    assert all(re.match(r"milestones_[0-9a-f]{4}-s0-[0-9a-f]{8}$", name) for name in lists)
    assert lists[0][:15] != lists[1][:15]
    path = name_of("+data.note=/very/long/folder/of/someone/that/goes/on/and/on/coco", swept=("data.note",))
    assert path.startswith("notecoco-")


def test_what_is_swept_is_part_of_the_place_even_if_it_changes_no_result() -> None:
    places = [name_of("data=coco", f"data.root=/{root}", swept=("data.root",)) for root in ("a", "b")]
    assert places[0][-8:] != places[1][-8:]
    assert all(name.startswith(f"root{root}-") for name, root in zip(places, "ab", strict=True))
    engines = {name_of(f"evaluator={engine}", swept=("evaluator",))[-8:] for engine in ("coco", "fast", "hotcoco")}
    assert len(engines) == 3


def test_a_number_is_the_same_with_and_without_a_point() -> None:
    assert name_of("criterion.rules.layers.box_terms.giou.weight=3") == name_of(
        "criterion.rules.layers.box_terms.giou.weight=3.0"
    )


def test_a_run_that_lies_there_under_another_name_keeps_it(tmp_path: Path) -> None:
    new = name_of(f"{AXIS}=0.5", f"hydra.sweep.dir={tmp_path}")
    old = tmp_path / f"an-older-way-to-name-it-s0-{new[-8:]}"
    old.mkdir()
    assert name_of(f"{AXIS}=0.5", f"hydra.sweep.dir={tmp_path}") == old.name
    assert name_of(f"{AXIS}=0.7", f"hydra.sweep.dir={tmp_path}") != old.name


def test_the_order_and_written_defaults_change_no_name() -> None:
    plain = name_of(f"{AXIS}=0.5", "data.batch_size=2")
    assert name_of("data.batch_size=2", f"{AXIS}=0.5") == plain
    assert name_of("data.batch_size=2", f"{AXIS}=0.5", "seed=0", "criterion.rules.layers.assigner.gamma=0.25") == plain


@pytest.mark.parametrize(
    "override",
    [
        "logger=file",
        "data.num_workers=0",
        "trainer.enable_progress_bar=false",
        "paths.runs=elsewhere",
        "evaluator=fast",
        "cluster=sbatch",
    ],
)
def test_what_changes_no_result_changes_no_name(override: str) -> None:
    assert name_of(override) == name_of()


def test_where_the_images_come_from_changes_no_name() -> None:
    folder = name_of("data=coco", "data.root=/a")
    assert "coco" in folder
    for place in (["data.shards=/a"], ["data.shards=s3://b/c", "data.shard_cache=/tmp"]):
        assert name_of("data=coco", "data.root=/b", "data.source=shards", *place) == folder


@pytest.mark.parametrize("override", ["trainer.max_epochs=3", "optimizer.lr=1e-3", "data.num_train=8", "seed=1"])
def test_what_changes_the_result_changes_the_hash(override: str) -> None:
    assert name_of(override).rpartition("-")[2] != name_of().rpartition("-")[2]


@dataclass(frozen=True)
class Swept:
    """A sweep over two values of ``tau`` that is done, and what its command wrote; tests change copies of it."""

    folder: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def swept(workplace: Path) -> Swept:
    folder = workplace / "swept"
    return Swept(folder, sweep(folder, f"{AXIS}=0.5,0.7"))


@pytest.fixture
def copied(swept: Swept, tmp_path: Path) -> Path:
    return shutil.copytree(swept.folder, tmp_path / "copied")


def test_a_sweep_does_every_run_once(swept: Swept) -> None:
    assert swept.outcome.code == 0, swept.outcome.err
    assert swept.outcome.out.rstrip().endswith("2 done")
    assert states(swept.folder) == {"tau0.5": RunState.DONE, "tau0.7": RunState.DONE}
    assert set(read_cells(swept.folder)) == {path.name for path in find_runs(swept.folder)}


def test_a_failed_run_stops_no_other_is_named_at_the_end_and_what_is_done_is_skipped(copied: Path) -> None:
    before = {path: (path / "metrics.jsonl").read_bytes() for path in find_runs(copied)}
    outcome = sweep(copied, f"{AXIS}=2,0.5,0.7,0.9")
    assert outcome.code == 1
    assert outcome.out.count("done, skipped") == 2
    assert {path: (path / "metrics.jsonl").read_bytes() for path in before} == before
    done = {f"tau{tau}": RunState.DONE for tau in (0.5, 0.7, 0.9)}
    assert states(copied) == {"tau2": RunState.FAILED, **done}
    assert "3 done, 1 failed" in outcome.out
    line = next(line for line in outcome.out.splitlines() if line.startswith("tau2"))
    assert "criterion.rules.layers.assigner: tau must be in [0, 1], got 2" in line
    resumed = succeed("runs", "resume", f"folder={copied}").out
    assert "Not tried, since their commands would fail again" in resumed
    assert resumed.count("tau must be in [0, 1], got 2") == 2  # in the table and apart
    assert sweep(copied, f"{AXIS}=0.5").code == 0  # whatever became of others in the folder


def test_a_run_that_was_killed_goes_on_where_it_was(copied: Path) -> None:
    run = next(path for path in find_runs(copied) if path.name.startswith("tau0.5"))
    whole = read_metrics(run / "metrics.jsonl")
    (run / "done.json").unlink()  # as after kill -9, with a checkpoint left
    assert read_status(run).state == RunState.RESUMABLE
    assert sweep(copied, f"{AXIS}=0.5").code == 0
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl")] == [row["step"] for row in whole]
    assert read_status(run).state == RunState.DONE


def test_runs_are_listed_and_what_is_missing_is_done(copied: Path) -> None:
    done = next(path for path in find_runs(copied) if path.name.startswith("tau0.5"))
    cells = read_cells(copied)
    missing = done.name.replace("tau0.5", "tau0.6")
    words = [word.replace(f"{AXIS}=0.5", f"{AXIS}=0.6") for word in cells[done.name]]
    (copied / "cells.json").write_text(json.dumps({**cells, missing: words}))
    listed = succeed("runs", f"folder={copied}").out
    assert f"{done.name}  done" in listed
    assert f"{missing}  missing" in listed
    assert "2 done, 1 missing" in listed
    planned = succeed("runs", "resume", f"folder={copied}", "dry_run=true").out
    assert f"{AXIS}=0.6" in planned
    assert f"hydra.run.dir={copied / missing}" in shlex.split(planned)
    assert f"{AXIS}=0.5" not in planned
    assert f"{AXIS}=0.7" not in planned


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path}/nowhere is not a folder" in fail("runs", f"folder={tmp_path}/nowhere")


@pytest.mark.parametrize("named", sorted(path.stem for path in (config_dir() / "sweep").glob("*.yaml")))
def test_every_run_of_a_named_sweep_is_the_same_training_in_another_process(named: str) -> None:
    with kept_hydra():
        swept = composed("experiment=deta_shapes", f"sweep={named}")
        axes = {key: str(values).split(",")[0] for key, values in swept.hydra.sweeper.params.items()}
        chosen = ["experiment=deta_shapes", f"sweep={named}", *(f"{key}={value}" for key, value in axes.items())]
        cell, job = composed(*chosen), composed(*training_words(chosen))
        assert run_name(_root_=job) == run_name(_root_=cell)
        assert job.hydra.mode == RunMode.RUN
    if named == "n":
        assert (
            job.criterion.rules.first.assigner.max_per_target == job.criterion.rules.layers.assigner.max_per_target == 1
        )


@pytest.mark.gate
def test_folders_of_configurations_reach_every_process(tmp_path: Path) -> None:
    experiment = tmp_path / "my configurations" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text("# @package _global_\ndefaults: [deta_shapes]\nseed: 7\n")
    own = ("--config-dir", str(experiment.parents[1]), "experiment=mine", *TINY_TRAINING[1:])
    succeed("train", "-m", *own, f"hydra.sweep.dir={tmp_path / 'sweep'}", f"{AXIS}=0.5")
    (run,) = find_runs(tmp_path / "sweep")
    assert "seed: 7" in (run / "config.yaml").read_text()
    (run / "done.json").unlink()
    succeed("runs", "resume", f"folder={tmp_path / 'sweep'}")
    assert read_status(run).state == RunState.DONE
    assert "done, skipped" in succeed("train", "-m", *own, f"hydra.sweep.dir={tmp_path / 'sweep'}", f"{AXIS}=0.5").out
    (run / "done.json").unlink()
    succeed("train", f"ckpt={run}")
    assert read_status(run).state == RunState.DONE
    shutil.rmtree(run)
    succeed("runs", "resume", f"folder={tmp_path / 'sweep'}")  # by what the sweep has noted
    assert "seed: 7" in (run / "config.yaml").read_text()


@pytest.mark.gate
def test_two_equal_sweeps_at_once_succeed_and_do_every_run_once(tmp_path: Path) -> None:
    axes = (f"{AXIS}=0.5,0.6,0.7", f"hydra.sweep.dir={tmp_path}")
    command = [sys.executable, "-m", "deta", "train", "-m", *TINY_TRAINING, *axes]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    assert list(states(tmp_path).values()) == [RunState.DONE] * 3
    for run in find_runs(tmp_path):
        assert len(list(run.glob("environment*.json"))) == 1
        assert [row["step"] for row in read_metrics(run / "metrics.jsonl") if "train/loss" in row] == [0, 1]


def test_words_with_references_are_left_to_every_run(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, "seed=4", "data.seed='${seed}'", f"{AXIS}=2")  # a run that ends before it trains
    assert "tau must be in [0, 1], got 2" in outcome.out
    (words,) = read_cells(tmp_path).values()
    assert "data.seed=${seed}" in [word.replace("'", "") for word in words]


@pytest.mark.gate
def test_a_sweep_that_is_killed_twice_does_every_run_to_the_end_once(tmp_path: Path) -> None:
    axes = (f"{AXIS}=0.5,0.6,0.7", "seed=0,1", "trainer.max_epochs=2", "callbacks.resume.every_n_steps=1")
    command = [sys.executable, "-m", "deta", "train", "-m", *TINY_TRAINING, f"hydra.sweep.dir={tmp_path}", *axes]
    finished: dict[Path, int] = {}
    for num_done in (2, 4):
        kill_in_the_next_run(command, tmp_path, num_done)
        found = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/done.json")}
        assert finished.items() <= found.items()
        finished = found
    assert len(read_cells(tmp_path)) == 6
    outcome = sweep(tmp_path, *axes)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("done, skipped") == len(finished)
    assert outcome.out.rstrip().endswith("6 done")
    assert finished.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/done.json")}.items()
    for run in find_runs(tmp_path):
        rows = read_metrics(run / "metrics.jsonl")
        assert [row["step"] for row in rows if "train/loss" in row] == [0, 1, 2, 3]
        assert sum("val/AP" in row for row in rows) == 2
    parts = [len(list(run.glob("environment*.json"))) for run in find_runs(tmp_path)]
    assert sum(parts) <= 6 + 2  # each kill met one run at most


def test_a_sweep_in_one_process_trains_on_one_device(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, "trainer.devices=2", "trainer.strategy=ddp")
    assert outcome.code == 1
    (line,) = (line for line in outcome.out.splitlines() if "  failed  " in line)
    assert "a sweep in one process trains on one device, but this run has 2 ranks: use cluster=sbatch" in line
