"""How long a loop waited for its batches."""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest
from torch.utils.data import Dataset

from deta.data.collate import Collate
from deta.data.loaders import EvalLoader, WaitClock
from deta.data.reader_errors import ReaderError
from deta.data.sample import Sample, SampleKey
from deta.data.samplers import EvalSampler
from tests.data.folders import sample


def slow(start: float, each: float) -> Iterator[int]:
    time.sleep(start)
    for number in range(3):
        time.sleep(each)
        yield number


def test_only_the_time_until_each_batch_counts() -> None:
    clock = WaitClock()
    seen = []
    begin = time.perf_counter()
    for number in clock.timed(lambda: slow(0.1, 0.05)):
        seen.append(number)
        time.sleep(0.2)
    assert seen == [0, 1, 2]
    assert 0.25 <= clock.seconds <= time.perf_counter() - begin - 0.6


def test_several_loops_add_up() -> None:
    clock = WaitClock()
    for _ in range(2):
        list(clock.timed(lambda: slow(0.0, 0.05)))
    assert clock.seconds >= 0.3


def test_an_error_of_the_reader_comes_through_and_counts() -> None:
    def failing() -> Iterator[int]:
        yield 0
        time.sleep(0.1)
        raise OSError("gone")

    clock = WaitClock()
    with pytest.raises(OSError, match="gone"):
        list(clock.timed(failing))
    assert clock.seconds >= 0.1


class _Troubled(Dataset[Sample]):
    """Of three images the last one makes trouble, outside of the process that made this."""

    def __init__(self, trouble: str) -> None:
        self._trouble, self._home = trouble, os.getpid()

    def __getitem__(self, key: SampleKey) -> Sample:
        if key.image == 2 and os.getpid() != self._home:
            if self._trouble == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return sample()


def loader(trouble: str, timeout: float = 60) -> EvalLoader:
    """Reads three images in a process of its own."""
    return EvalLoader(
        dataset=_Troubled(trouble),
        sampler=EvalSampler(num_samples=3),
        batch_size=1,
        collate=Collate(),
        num_workers=1,
        timeout=timeout,
    )


def test_a_reading_process_that_is_silent_ends_the_loop_with_advice() -> None:
    with pytest.raises(ReaderError, match=r"no batch came .*data\.read_timeout: .*timed out after 1"):
        list(loader("silent", timeout=1))


KILLED = """
from deta.data.reader_errors import ReaderError, reader_failure
from tests.data.test_loaders import loader
try:
    list(loader("killed"))
except ReaderError as error:
    print(error)
except (RuntimeError, ConnectionError) as error:  # PyTorch tells of it wherever the process is at that moment
    print(reader_failure(error))
"""


def test_a_reading_process_that_is_killed_ends_the_loop_with_advice() -> None:
    # In a process of its own: PyTorch may tell of the kill a second time, in the test that comes next.
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, timeout=120)
    assert re.match(r"a reading process was killed, .*memory .*data\.num_workers", done.stdout), done.stderr


def test_too_low_a_limit_of_open_files_is_said_before_the_loop_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only said to be so low: the process of the tests needs its own files.
    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 4096))
    with pytest.raises(ReaderError, match=r"1 reading process needs 80 open files, the limit is 40: .*ulimit -n"):
        list(loader("silent"))


def test_a_folder_too_long_for_sockets_is_said_before_the_loop_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"/{75 * 'a'}")
    with pytest.raises(ReaderError, match=r"sockets below /aaa.* more than 75 bytes: set TMPDIR to a shorter one"):
        list(loader("silent"))


def test_an_error_that_is_not_about_reading_processes_stays_what_it_is() -> None:
    def failing() -> Iterator[int]:
        yield 0
        raise RuntimeError("CUDA error: out of memory")

    with pytest.raises(RuntimeError, match=r"^CUDA error: out of memory$"):
        list(WaitClock().timed(failing))
