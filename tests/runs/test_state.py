"""The state of a run as the files of its directory tell it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch

from deta.runs import claims as run_claims
from deta.runs import state as runs
from deta.runs.cells import add_cells, read_cells
from deta.runs.cluster import QueuedJob
from deta.runs.folders import find_runs
from deta.runs.state import (
    RunState,
    mark_done,
    mark_failed,
    mark_queued,
    mark_running,
    mark_stopped,
    mark_unfinished,
    read_status,
    read_statuses,
)
from deta.runs.table import table


@pytest.fixture(autouse=True)
def outside_of_slurm() -> Iterator[None]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    with mock.patch.dict(os.environ, own, clear=True):
        yield


def queue(monkeypatch: pytest.MonkeyPatch, jobs: dict[str, QueuedJob] | None) -> None:
    """SLURM answers this."""
    for module in (runs, run_claims):
        monkeypatch.setattr(module, "jobs_in_queue", lambda _: jobs)


def claim(folder: Path, **changes: object) -> None:
    """Another process has the run, on another machine unless told otherwise."""
    place = {"host": "elsewhere", "pid": 1, "started": "1", "job": None, "life": 0}
    (folder / "running.json").write_text(json.dumps({**place, **changes}))


def save(folder: Path) -> None:
    """A checkpoint is there."""
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()


def test_a_run_goes_from_missing_to_done(tmp_path: Path) -> None:
    assert read_status(tmp_path / "nowhere").state == RunState.MISSING
    mark_running(tmp_path)
    assert read_status(tmp_path).state == RunState.RUNNING
    mark_failed(tmp_path, "no memory\nmore")
    status = read_status(tmp_path)
    assert (status.state, status.message) == (RunState.FAILED, "no memory")
    save(tmp_path)
    mark_running(tmp_path)
    mark_stopped(tmp_path)
    assert read_status(tmp_path).state == RunState.RESUMABLE
    mark_running(tmp_path)
    mark_done(tmp_path, {"step": 1})
    assert read_status(tmp_path).state == RunState.DONE


def test_a_finished_run_that_is_continued_is_not_done(tmp_path: Path) -> None:
    mark_done(tmp_path, {"step": 1})
    save(tmp_path)
    mark_running(tmp_path)
    assert read_status(tmp_path).state == RunState.DONE  # it may still be refused
    mark_unfinished(tmp_path)
    assert read_status(tmp_path).state == RunState.RUNNING
    mark_stopped(tmp_path)
    assert read_status(tmp_path).state == RunState.RESUMABLE


def test_a_process_that_is_dead_holds_nothing(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from deta.runs.state import mark_running as m; m(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert read_status(tmp_path).state == RunState.MISSING
    mark_running(tmp_path)
    assert read_status(tmp_path).state == RunState.RUNNING
    assert sorted(path.name for path in tmp_path.iterdir()) == ["running.json"]


def test_of_two_processes_one_gets_the_run(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deta.runs.state import mark_running as m; "
        "m(Path(sys.argv[1])); print('mine', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(FileExistsError, match=f"is trained by another process .process {other.pid} on "):
            mark_running(tmp_path)
        mark_failed(tmp_path, "this one has another fault")
        assert read_status(tmp_path).state == RunState.RUNNING
        other.communicate()
    assert read_status(tmp_path).state == RunState.MISSING  # the fault was none of this run


def test_a_job_elsewhere_is_known_by_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(tmp_path, job="9_1")
    save(tmp_path)
    for states, expected in (
        ({"9_1": QueuedJob("RUNNING")}, RunState.RUNNING),
        ({"9_1": QueuedJob("PENDING")}, RunState.QUEUED),
        ({"9_0": QueuedJob("RUNNING")}, RunState.RESUMABLE),
        (None, RunState.RUNNING),  # SLURM does not answer, and the claim is young
    ):
        queue(monkeypatch, states)
        assert read_status(tmp_path).state == expected


def test_an_earlier_life_of_this_job_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(tmp_path, job="9", life=0)
    queue(monkeypatch, {"9": QueuedJob("RUNNING", 1)})
    os.environ |= {"SLURM_JOB_ID": "9", "SLURM_RESTART_COUNT": "1"}
    assert read_status(tmp_path).state == RunState.MISSING
    mark_running(tmp_path)
    place = json.loads((tmp_path / "running.json").read_text())
    assert (place["host"], place["job"], place["life"]) == (socket.gethostname(), "9", 1)


def test_a_submitted_run_is_queued_but_not_for_its_own_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_queued(tmp_path, "9")
    queue(monkeypatch, {"9": QueuedJob("PENDING", 0, "Resources")})
    status = read_status(tmp_path)
    assert (status.state, status.message) == (RunState.QUEUED, "job 9 waits: Resources")
    os.environ["SLURM_JOB_ID"] = "9"
    assert read_status(tmp_path).state == RunState.MISSING
    queue(monkeypatch, {})
    del os.environ["SLURM_JOB_ID"]
    assert read_status(tmp_path).state == RunState.MISSING


def test_a_job_that_is_queued_again_by_hand_is_queued_until_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mock.patch.dict(os.environ, {"SLURM_JOB_ID": "9", "SLURM_RESTART_COUNT": "0"}):
        mark_running(tmp_path)
        mark_failed(tmp_path, "killed")
    for job, expected in (
        (QueuedJob("COMPLETING", 1), RunState.QUEUED),  # as SLURM shows it before it waits
        (QueuedJob("PENDING", 1, "BeginTime"), RunState.QUEUED),
        (QueuedJob("RUNNING", 1), RunState.QUEUED),  # it imports its packages
        (QueuedJob("RUNNING", 0), RunState.FAILED),  # it does something else now
        (QueuedJob("COMPLETING", 0), RunState.FAILED),
    ):
        queue(monkeypatch, {"9": job})
        assert read_status(tmp_path).state == expected


def test_a_job_whose_lives_save_nothing_ends_as_failed(tmp_path: Path) -> None:
    steps: list[int | None] = [None, None, 4, 4, 4, 4]
    for life, step in enumerate(steps):
        job = {"SLURM_JOB_ID": "9", "SLURM_RESTART_COUNT": str(life)}
        with mock.patch.dict(os.environ, job), mock.patch.object(runs, "saved_step", lambda _, step=step: step):
            if life < 5:
                mark_running(tmp_path)
                mark_queued(tmp_path, "9")
                mark_stopped(tmp_path)
                continue
            with pytest.raises(ValueError, match="job 9 was queued again 3 times without saving a step beyond 4"):
                mark_running(tmp_path)
            mark_failed(tmp_path, "no progress")
    assert read_status(tmp_path).state == RunState.FAILED


@pytest.mark.parametrize(
    ("name", "content", "state"),
    [
        ("running.json", b"{}", RunState.RESUMABLE),
        ("running.json", b"[]", RunState.RESUMABLE),
        ("running.json", b"\xff\x00", RunState.RESUMABLE),
        ("queued.json", b"[1]", RunState.RESUMABLE),
        ("failed.json", b"[]", RunState.FAILED),
        ("failed.json", b"", RunState.FAILED),
        ("done.json", b"", RunState.RESUMABLE),
        ("metrics.jsonl", b"\x80\x81\n", RunState.RESUMABLE),
        ("metrics.jsonl", b'{"train/loss": 1}\n', RunState.RESUMABLE),
        ("metrics.jsonl", b'{"train/loss": 1, "step": Infinity}\n', RunState.RESUMABLE),
        ("metrics.jsonl", b'{"val/AP": 1, "step": 1, "epoch": 1e400}\n', RunState.RESUMABLE),
        ("metrics.jsonl", b'{"val/AP": 1, "step": 1, "epoch": 1' + b"0" * 400 + b"}\n", RunState.RESUMABLE),
    ],
)
def test_a_damaged_record_is_told_in_the_line_of_its_run(
    name: str, content: bytes, state: RunState, tmp_path: Path
) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    for folder in (bad, good):
        folder.mkdir()
        save(folder)
    mark_done(good, {"step": 1})
    (bad / name).write_bytes(content)
    first, second = read_statuses(find_runs(tmp_path))
    assert (first.state, second.state) == (state, RunState.DONE)
    assert f"{name} is damaged" in first.message
    assert second.message == ""


def test_a_damaged_list_of_cells_hides_no_run_that_has_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a").mkdir()
    mark_done(tmp_path / "a", {})
    (tmp_path / "cells.json").write_text('{"a": ["seed=1"], "b"')
    assert find_runs(tmp_path) == [tmp_path / "a"]
    assert f"{tmp_path}/cells.json is damaged" in caplog.text
    add_cells(tmp_path, {"c": ["seed=2"]})
    assert find_runs(tmp_path) == [tmp_path / "a", tmp_path / "c"]


def test_folders_whose_links_lead_back_are_looked_into_once(tmp_path: Path) -> None:
    mark_failed(tmp_path / "a" / "b", "x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert len(find_runs(tmp_path)) == 1


def test_a_run_that_began_inside_another_is_found(tmp_path: Path) -> None:
    for folder in (tmp_path / "demo", tmp_path / "demo" / "2026-11-28"):
        mark_failed(folder, "x")
        (folder / ".hydra").mkdir()
        (folder / "checkpoints").mkdir()
    assert find_runs(tmp_path) == [tmp_path / "demo", tmp_path / "demo" / "2026-11-28"]


def test_only_folders_of_trainings_are_runs(tmp_path: Path) -> None:
    for command in ("train", "eval", "predict", "data_assign"):
        record = tmp_path / command / ".hydra" / "hydra.yaml"
        record.parent.mkdir(parents=True)
        record.write_text(f"hydra:\n  job:\n    config_name: {command}\n")
        (tmp_path / command / "metrics.json").touch()
    assert find_runs(tmp_path) == [tmp_path / "train"]


def test_results_of_another_command_are_no_run_though_a_training_was_tried_there(tmp_path: Path) -> None:
    for name in ("refused", "evaluated"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "hydra.yaml").write_text("hydra:\n  job:\n    config_name: train\n")
        (tmp_path / name / "eval.log").touch()
    mark_failed(tmp_path / "evaluated", "x")
    assert find_runs(tmp_path) == [tmp_path / "evaluated"]


def test_a_saved_step_is_a_done_one_whether_or_not_it_was_logged(tmp_path: Path) -> None:
    rows = [{"step": step, "train/loss": 1.0} for step in range(7)]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    save(tmp_path)
    torch.save({"epoch": 1, "global_step": 300, "x": "y"}, tmp_path / "checkpoints" / "last.ckpt")
    status = read_status(tmp_path)
    assert (status.step, status.saved) == (300, 300)
    head, line, _ = table([status], tmp_path).splitlines()
    assert head.split()[2:4] == ["steps", "saved"]
    assert line.split()[2:4] == ["300", "300"]


def test_the_table_says_after_which_epoch_the_latest_validation_was(tmp_path: Path) -> None:
    rows = [
        {"step": 4, "epoch": 0, "val/AP": 0.1},
        {"step": 9, "epoch": 1, "val/AP": 0.2},
        {"step": 14, "epoch": 2, "train/loss": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    head, line, _ = table([read_status(tmp_path)], tmp_path).splitlines()
    assert head.endswith("AP  of epoch")
    assert line.split()[2:] == ["15", "-", "20.00", "2"]


def test_the_reason_of_a_failure_that_cannot_be_written_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    mark_failed(tmp_path / "file" / "run", "the first fault")
    assert "The failure of" in caplog.text


def test_sweeps_that_start_at_once_forget_no_cell_of_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deta.runs.cells import add_cells; "
        "add_cells(Path(sys.argv[1]), {sys.argv[2]: []})"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)]) for number in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    assert sorted(read_cells(tmp_path)) == ["0", "1", "2", "3"]
    assert [path.name for path in tmp_path.iterdir()] == ["cells.json"]
