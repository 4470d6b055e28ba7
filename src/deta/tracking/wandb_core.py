"""The process of W&B beside a training, which every call waits for: it may hang, the training may not."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer

_NAME = "wandb-core"


@contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """Kill the process of W&B where the ``with`` block lasts longer: what waits for it then ends with an error.

    Raises:
        TimeoutError: It did.
    """
    is_over = Event()

    def end() -> None:
        is_over.set()
        for process in core_processes():
            os.kill(process, signal.SIGKILL)

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if is_over.is_set():
            raise TimeoutError(f"its process did not answer within {seconds:g} s and was killed")


def core_processes() -> list[int]:
    """Process ids of those that this process has started; empty where the system has no ``/proc``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            start, _, rest = path.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if start.partition("(")[2] == _NAME and int(rest.split()[1]) == os.getpid():
            found.append(int(path.parent.name))
    return found
