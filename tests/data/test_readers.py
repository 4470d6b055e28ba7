"""Reading processes that outlive the signals of their job, but neither their loader nor their parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children, get_start_method, set_start_method
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from deta.data.readers import SIGNALS, reading_processes

NUM_SAMPLES = 40


def loader() -> DataLoader[int]:
    """Reads numbers in two processes that stay for the next pass."""
    return DataLoader(
        range(NUM_SAMPLES),  # type: ignore[arg-type]  # a sequence is what it takes
        num_workers=2,
        multiprocessing_context=reading_processes(2),
        persistent_workers=True,
        batch_size=None,
    )


def readers() -> list[int]:
    """Their process ids."""
    return sorted(process.pid for process in active_children() if process.pid is not None)


@contextmanager
def started_by(method: str) -> Iterator[None]:
    """Let this be how processes are started."""
    earlier = get_start_method()
    set_start_method(method, force=True)
    try:
        yield
    finally:
        set_start_method(earlier, force=True)


@pytest.mark.parametrize(
    "method",
    ["fork", pytest.param("spawn", marks=pytest.mark.slow), pytest.param("forkserver", marks=pytest.mark.slow)],
)
def test_no_signal_of_a_job_ends_a_reader_or_loses_what_it_reads(method: str) -> None:
    with started_by(method):
        reader = loader()
        batches = iter(reader)
        seen = [next(batches)]  # they run our code from here on, however they were started
        before = readers()
        for number in SIGNALS:
            for process in before:
                os.kill(process, number)
            seen.append(next(batches))
        assert [*seen, *batches] == list(range(NUM_SAMPLES))
        assert list(reader) == list(range(NUM_SAMPLES))
        assert readers() == before
        assert len(before) == 2


def test_a_reader_is_deaf_before_it_runs_any_code() -> None:
    context = reading_processes(1)
    assert context is not None
    process = context.Process(target=time.sleep, args=(0,))  # type: ignore[attr-defined]  # every real context has it
    process.start()
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS) == set()


def test_a_reader_that_hangs_ends_with_its_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    batches = iter(loader())
    next(batches)
    first, _ = readers()
    os.kill(first, signal.SIGSTOP)
    del batches
    patience = time.monotonic() + 30  # a killed process is gone once the system says so
    while readers() and time.monotonic() < patience:
        time.sleep(0.05)
    assert readers() == []


def test_no_process_reads_for_a_loader_without_any() -> None:
    assert reading_processes(0) is None


@pytest.mark.slow
def test_readers_die_with_a_parent_that_is_killed() -> None:
    code = (
        "import os, signal; from tests.data.test_readers import loader, readers;"
        "batches = iter(loader()); next(batches); print(*readers(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    processes = [int(word) for word in done.stdout.split()]
    assert len(processes) == 2
    end = time.monotonic() + 20
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_reader_ends_as_python_ends_what_is_left_of_its_daemons() -> None:
    context = reading_processes(1)
    assert context is not None
    process = context.Process(target=time.sleep, args=(60,), daemon=True)  # type: ignore[attr-defined]
    process.start()
    process._popen.terminate()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_readers_that_no_loader_has_ended_do_not_hold_up_the_end_of_python() -> None:
    code = (
        "import time; from deta.data.readers import reading_processes;"
        "reading_processes(1).Process(target=time.sleep, args=(600,), daemon=True).start()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
