"""Signals that ask a run to stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deta.runs import preemption
from deta.runs.cluster import Job


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in preemption.PREEMPTIONS]
    yield
    preemption.forget()
    assert [signal.getsignal(number) for number in preemption.PREEMPTIONS] == before


def test_the_first_signal_is_remembered() -> None:
    preemption.listen()
    assert preemption.received() is None
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert preemption.received() == signal.SIGUSR2


def test_a_forked_process_takes_no_note() -> None:
    preemption.listen()
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGUSR1)
        os._exit(0 if preemption.received() is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert preemption.received() is None


def test_a_signal_after_the_end_changes_nothing_not_even_while_python_ends() -> None:
    code = (
        "import atexit, os, signal; from deta.runs import preemption; preemption.listen(); preemption.end();"
        "Late = type('Late', (), {'__del__': lambda self, kill=os.kill, pid=os.getpid(): kill(pid, 10)});"
        "os.late = Late()"  # deleted when modules are, after Python has put default actions back
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    unprotected = code.replace("preemption.end();", "")
    assert subprocess.run([sys.executable, "-c", unprotected], check=False).returncode == -signal.SIGUSR1


def test_a_job_is_put_back_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "scontrol"
    command.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    preemption.requeue(Job("12_3", 0))
    assert (tmp_path / "asked").read_text() == "requeue 12_3\n"


def test_under_submitit_its_own_handler_puts_the_job_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    earlier = signal.signal(signal.SIGUSR2, lambda number, _: calls.append(number))
    try:
        preemption.listen()
        monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
        os.kill(os.getpid(), signal.SIGUSR2)
        assert calls == []
        preemption.requeue(Job("12", 0))
        assert calls == [signal.SIGUSR2]
        preemption.forget()
    finally:
        signal.signal(signal.SIGUSR2, earlier)
