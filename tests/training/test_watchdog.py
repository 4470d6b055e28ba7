"""The way out of a training that hangs."""

import signal
import subprocess
import sys

import pytest

from deta.training.watchdog import Watchdog

SIGNALLED = """
import ctypes, os, signal, threading, time
from deta.training.watchdog import Watchdog
signal.signal(signal.SIGTERM, lambda *_: None)
signal.siginterrupt(signal.SIGTERM, False)
leave = lambda stop: print("left by", stop.name, flush=True)
dog = Watchdog(signals=(signal.SIGTERM,), seconds=0.5, leave=leave)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
"""
HANG = "ctypes.CDLL(None).read(os.pipe()[0], ctypes.create_string_buffer(1), 1)"
"""One step of the main thread that never ends, so that no handler of Python's runs."""


def outcome(code: str) -> tuple[int, str]:
    """Exit code and output of a process that receives ``SIGTERM`` while it runs ``code``."""
    command = [sys.executable, "-c", SIGNALLED + code]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=100)
    return done.returncode, done.stdout


def test_a_process_whose_main_thread_hangs_leaves_after_a_signal() -> None:
    assert outcome(HANG) == (128 + signal.SIGTERM, "left by SIGTERM\n")


def test_a_signal_that_came_before_the_watch_is_obeyed() -> None:
    code = (
        "import os, signal, time; from deta.training.watchdog import Watchdog; "
        "Watchdog(signals=(signal.SIGTERM,), seconds=0.5, leave=lambda stop: os.write(1, b'left'), "
        "received=signal.SIGTERM); time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "left")


@pytest.mark.parametrize(
    "code",
    [
        "for _ in range(150): time.sleep(0.01); dog.moved()",
        "with dog.saving(): time.sleep(1.5)",
    ],
)
def test_a_process_that_moves_or_saves_stays_and_may_stop_the_watch(code: str) -> None:
    assert outcome(f"{code}\ndog.stop(); time.sleep(1.5); print('done')") == (0, "done\n")


def test_without_a_signal_nothing_happens_however_long_nothing_moves() -> None:
    assert outcome("signal.set_wakeup_fd(-1); time.sleep(1.5); print('done')") == (0, "done\n")


def test_who_listened_before_listens_again() -> None:
    before = signal.set_wakeup_fd(-1)
    try:
        dog = Watchdog(signals=(signal.SIGTERM,), seconds=1, leave=lambda _: None)
        dog.stop()
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.set_wakeup_fd(before)
