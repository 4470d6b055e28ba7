"""Claims of processes of another machine."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_claim(path: Path, **changes: object) -> None:
    """A process of another machine that promises signs of life."""
    place = {"host": "elsewhere", "pid": 1, "started": "1", "job": None, "life": 0, "lease": 0.3}
    path.write_text(json.dumps({**place, **changes}))


@contextmanager
def signs_of_life(path: Path, *, age: float) -> Iterator[None]:
    """The holder of a claim renews it, by a clock that is ``age`` seconds behind that of this machine."""
    end = threading.Event()

    def touch() -> None:
        moment = time.time() - age
        while not end.wait(0.1):
            moment += 0.1
            os.utime(path, (moment, moment))

    holder = threading.Thread(target=touch)
    holder.start()
    try:
        yield
    finally:
        end.set()
        holder.join()
