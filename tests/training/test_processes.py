"""What the processes of a training share, and how long they wait for each other."""

import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from deta.training import processes
from deta.training.processes import limit_waits, share_cpus, tell_threads
from deta.utils.cpus import CpuTimes, UsableCpus
from tests.training.tiny import make_trainer


def test_a_strategy_named_by_a_word_waits_as_long_as_asked(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, devices=2, strategy="ddp")
    limit_waits(trainer, seconds=7)
    assert isinstance(trainer.strategy, DDPStrategy)
    assert trainer.strategy._timeout == timedelta(seconds=7)


def test_ranks_that_a_process_starts_share_its_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "DETA_OMP_NUM_THREADS", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")  # so that it is put back whether it is set or not
        monkeypatch.delenv(name)
    monkeypatch.setattr("deta.utils.cpus.usable_cpus", lambda: UsableCpus(6, "cgroup"))
    before = torch.get_num_threads()
    try:
        share_cpus(make_trainer(tmp_path))
        assert "OMP_NUM_THREADS" not in os.environ
        share_cpus(make_trainer(tmp_path, devices=3, strategy="ddp"))
        assert (os.environ["OMP_NUM_THREADS"], torch.get_num_threads()) == ("2", 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("busy", "is_warned"), [(0.4, False), (2.4, False), (3.0, True)])
def test_a_machine_that_others_keep_busy_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, busy: float, is_warned: bool
) -> None:
    start = CpuTimes(moment=100.0, machine=5000.0, own=20.0)
    now = CpuTimes(moment=102.0, machine=5000.0 + 2 * busy + 1.5, own=21.5)
    monkeypatch.setattr(processes, "cpu_times", lambda: now)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    with caplog.at_level(logging.INFO):
        tell_threads(start)
    assert caplog.messages[0].startswith("2 threads, ")
    assert [record.levelname for record in caplog.records[1:]] == (["WARNING"] if is_warned else [])
    assert ("Other programs keep 3.0 of the 4 CPUs of this machine busy" in caplog.text) == is_warned


def test_a_system_that_does_not_tell_what_is_busy_is_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "cpu_times", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with caplog.at_level(logging.INFO):
        tell_threads(None)
    assert caplog.messages[0].startswith("1 thread, ")
    assert len(caplog.messages) == 1


def test_importing_the_command_changes_no_environment() -> None:
    code = "import os; before = dict(os.environ); import deta, deta.cli; assert dict(os.environ) == before"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
