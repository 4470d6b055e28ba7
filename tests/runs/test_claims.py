"""Of all processes that want a run one gets it, and a living claim is never touched by another process."""

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from deta.runs.claims import RunTakenError, claim, is_held, other_holder, release, require_held
from tests.runs.claimed import signs_of_life, write_claim

HOLD = """
import sys
from pathlib import Path
from deta.runs import claims as run_claims
run_claims._SECONDS_BETWEEN_SIGNS = 0.05
print("ready", flush=True)
sys.stdin.readline()
try:
    run_claims.claim(Path(sys.argv[1]))
except run_claims.RunTakenError as error:
    print(error, flush=True)
else:
    print("mine", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def outside_of_slurm() -> Iterator[None]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    with mock.patch.dict(os.environ, own, clear=True):
        yield


def dead_here() -> dict[str, object]:
    """What the claim of a process of this machine says that is no more."""
    return {"host": socket.gethostname(), "pid": 2**22 + 1}


def holders(folder: Path, number: int) -> list[subprocess.Popen[str]]:
    """Processes that all claim the run at once."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    for process in started:
        assert said(process) == "ready"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return started


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


@pytest.mark.parametrize("left", [(), ("running.json",), ("running.json", "running.1.json")])
def test_of_many_processes_that_claim_at_once_exactly_one_gets_the_run(left: tuple[str, ...], tmp_path: Path) -> None:
    for name in left:
        write_claim(tmp_path / name, **dead_here())
    started = holders(tmp_path, 5)
    answers = [said(process) for process in started]
    winner = started[answers.index("mine")]
    assert sum("is trained by another process" in answer for answer in answers) == 4
    assert json.loads((tmp_path / "running.json").read_text())["pid"] == winner.pid
    for process in started:
        process.kill()
        process.communicate()
    assert [path.name for path in tmp_path.glob("running*")] == ["running.json"]
    claim(tmp_path)  # the dead hold nothing
    assert [path.name for path in tmp_path.iterdir()] == ["running.json"]
    release(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_claim_of_another_machine_that_gives_no_sign_for_its_lease_is_dead_whatever_the_clock(tmp_path: Path) -> None:
    for age in (-86400.0, 0.0, 86400.0):
        write_claim(tmp_path / "running.json")
        os.utime(tmp_path / "running.json", (time.time() - age, time.time() - age))
        start = time.monotonic()
        claim(tmp_path)
        assert time.monotonic() - start >= 0.3
        assert is_held(tmp_path)
        release(tmp_path)


@pytest.mark.parametrize("age", [-86400.0, 86400.0])
def test_a_claim_of_another_machine_that_gives_signs_lives_whatever_the_clock(age: float, tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    write_claim(path, lease=30.0)
    with (
        signs_of_life(path, age=age),
        pytest.raises(RunTakenError, match=r"is trained by another process .process 1 on elsewhere"),
    ):
        claim(tmp_path)
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_a_claim_of_an_earlier_version_counts_for_an_hour_after_its_last_metrics(tmp_path: Path) -> None:
    old = {"host": "elsewhere", "pid": 1, "started": "1", "job": None, "life": 0}
    (tmp_path / "running.json").write_text(json.dumps(old))
    with pytest.raises(RunTakenError):
        claim(tmp_path)
    os.utime(tmp_path / "running.json", (0, 0))
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(RunTakenError):
        claim(tmp_path)
    os.utime(tmp_path / "metrics.jsonl", (time.time() + 86400, time.time() + 86400))
    claim(tmp_path)
    release(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"host": 1}', b"[" * 100_000])
def test_a_damaged_claim_holds_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "running.json").write_bytes(content)
    claim(tmp_path)
    assert is_held(tmp_path)
    release(tmp_path)


def test_a_process_whose_run_was_taken_ends_before_it_writes_more(tmp_path: Path) -> None:
    (holder,) = holders(tmp_path, 1)
    assert said(holder) == "mine"
    write_claim(tmp_path / "other.json")
    (tmp_path / "other.json").replace(tmp_path / "running.json")
    assert holder.wait(timeout=20) == 1
    assert holder.stderr is not None
    assert "process 1 on elsewhere has taken" in holder.communicate()[1]


def test_a_full_disk_leaves_no_claim_and_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(path: Path, text: str) -> int:
        with path.open("w") as file:
            file.write(text[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_half)
        with pytest.raises(OSError, match=rf"No space left .*{tmp_path}/running.json"):
            claim(tmp_path)
    assert not list(tmp_path.iterdir())
    claim(tmp_path)
    release(tmp_path)


def test_where_there_are_no_links_a_name_is_exclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    claim(tmp_path)
    assert is_held(tmp_path)
    (other,) = holders(tmp_path, 1)
    assert "is trained by another process" in said(other)
    other.communicate()
    release(tmp_path)


def test_who_holds_a_run_clears_what_killed_processes_left_unfinished(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("done.json.7.unfinished", "checkpoints/last.ckpt.unfinished", "checkpoints/last.ckpt"):
        (tmp_path / name).touch()
    claim(tmp_path)
    release(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["last.ckpt"]


def test_a_run_whose_directory_was_removed_is_held_no_more(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    claim(run)
    require_held(run)
    (run / "running.json").unlink()
    run.rmdir()
    run.mkdir()
    with pytest.raises(FileNotFoundError, match="was removed or replaced while the run was trained"):
        require_held(run)
    release(run)


def test_a_rank_tells_the_first_one_of_its_training_from_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETA_LAUNCH", "MASTER_PORT=29500")
    (first,) = holders(tmp_path, 1)
    assert said(first) == "mine"
    assert other_holder(tmp_path) is None
    monkeypatch.setenv("DETA_LAUNCH", "MASTER_PORT=29501")
    holder = other_holder(tmp_path)
    assert holder is not None
    assert holder.pid == first.pid
    first.communicate()
    assert other_holder(tmp_path) is None
