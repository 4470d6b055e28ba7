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

from deta.engine import runs
from deta.engine.runs import RunState, mark_done, mark_failed, mark_queued, mark_running, mark_stopped, read_status


@pytest.fixture(autouse=True)
def outside_of_slurm() -> Iterator[None]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    with mock.patch.dict(os.environ, own, clear=True):
        yield


def queue(monkeypatch: pytest.MonkeyPatch, states: dict[str, str] | None) -> None:
    """SLURM answers this."""
    monkeypatch.setattr(runs, "states_in_queue", lambda _: states)


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
    assert read_status(tmp_path).state == RunState.RUNNING
    mark_stopped(tmp_path)
    assert read_status(tmp_path).state == RunState.RESUMABLE


def test_a_process_that_is_dead_holds_nothing(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from deta.engine.runs import mark_running as m; m(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert read_status(tmp_path).state == RunState.MISSING
    mark_running(tmp_path)
    assert read_status(tmp_path).state == RunState.RUNNING
    assert sorted(path.name for path in tmp_path.iterdir()) == ["running.json"]


def test_of_two_processes_one_gets_the_run(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deta.engine.runs import mark_running as m; "
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
    assert read_status(tmp_path).state == RunState.FAILED


def test_a_claim_that_is_being_written_counts(tmp_path: Path) -> None:
    (tmp_path / "running.json").touch()
    with pytest.raises(FileExistsError, match="it has just started"):
        mark_running(tmp_path)
    os.utime(tmp_path / "running.json", (0, 0))
    mark_running(tmp_path)


def test_a_job_elsewhere_is_known_by_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(tmp_path, job="9_1")
    save(tmp_path)
    for states, expected in (
        ({"9_1": "RUNNING"}, RunState.RUNNING),
        ({"9_1": "PENDING"}, RunState.QUEUED),
        ({"9_0": "RUNNING"}, RunState.RESUMABLE),
        (None, RunState.RUNNING),  # SLURM does not answer, and the claim is young
    ):
        queue(monkeypatch, states)
        assert read_status(tmp_path).state == expected


def test_an_earlier_life_of_this_job_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(tmp_path, job="9", life=0)
    queue(monkeypatch, {"9": "RUNNING"})
    os.environ |= {"SLURM_JOB_ID": "9", "SLURM_RESTART_COUNT": "1"}
    assert read_status(tmp_path).state == RunState.MISSING
    mark_running(tmp_path)
    place = json.loads((tmp_path / "running.json").read_text())
    assert (place["host"], place["job"], place["life"]) == (socket.gethostname(), "9", 1)


def test_a_submitted_run_is_queued_but_not_for_its_own_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_queued(tmp_path, "9")
    queue(monkeypatch, {"9": "PENDING"})
    status = read_status(tmp_path)
    assert (status.state, status.message) == (RunState.QUEUED, "job 9")
    os.environ["SLURM_JOB_ID"] = "9"
    assert read_status(tmp_path).state == RunState.MISSING
    queue(monkeypatch, {})
    del os.environ["SLURM_JOB_ID"]
    assert read_status(tmp_path).state == RunState.MISSING
