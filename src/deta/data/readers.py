"""Reading processes that leave signals to the training that started them."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_start_method, parent_process
from multiprocessing.context import (
    BaseContext,
    ForkContext,
    ForkProcess,
    ForkServerContext,
    ForkServerProcess,
    SpawnContext,
    SpawnProcess,
)
from multiprocessing.process import BaseProcess
from threading import Thread

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""What SLURM or a terminal sends to every process of a job: the training alone decides what follows, since it saves
only while its readers live."""


class _Reader(BaseProcess):
    """Deaf to ``SIGNALS`` from its first moment, or with another start method than fork from that of our code on."""

    def start(self) -> None:
        """Start; a process that is forked inherits what is blocked."""
        with _blocked():
            super().start()
        # What Python itself calls at its end, to wait then for a reader that would not hear ``SIGTERM``.
        popen = self._popen  # type: ignore[attr-defined]  # of every start method
        popen.terminate = popen.kill

    def run(self) -> None:
        """Read until the loader or the death of the parent ends it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        Thread(target=_die_with_parent, daemon=True).start()  # PyTorch looks only while a reader waits for work
        super().run()

    def terminate(self) -> None:
        """Kill, as the loader does with a reader that hangs: it would not hear ``SIGTERM``."""
        self.kill()


class _ForkReader(_Reader, ForkProcess):
    pass


class _SpawnReader(_Reader, SpawnProcess):
    pass


class _ForkServerReader(_Reader, ForkServerProcess):
    pass


class _ForkReaders(ForkContext):
    Process = _ForkReader


class _SpawnReaders(SpawnContext):
    Process = _SpawnReader


class _ForkServerReaders(ForkServerContext):
    Process = _ForkServerReader


_CONTEXTS: dict[str, BaseContext] = {
    "fork": _ForkReaders(),
    "spawn": _SpawnReaders(),
    "forkserver": _ForkServerReaders(),
}


def reading_processes(num_workers: int) -> BaseContext | None:
    """What a ``DataLoader`` takes as ``multiprocessing_context``; None where no process is to read."""
    return _CONTEXTS[get_start_method()] if num_workers > 0 else None


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _blocked() -> Iterator[None]:
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
