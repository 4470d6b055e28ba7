"""Signals that ask a run to stop, remembered at once and acted on at a safe point of the training.

SLURM and submitit signal every process of a job, also while it still imports its packages, when the default action
would kill it without a word. So ``listen`` comes first of all, before PyTorch is imported; a handler only takes a
note, and processes forked later, which inherit it, take none.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from deta.runs.cluster import Job, this_job
from deta.runs.state import mark_queued, mark_stopped

PREEMPTIONS = (signal.SIGUSR1, signal.SIGUSR2)
"""What a cluster sends before it takes the machine: stop and come back."""
STOPS = (signal.SIGTERM, signal.SIGINT)
"""What a user or the end of a job sends: stop. Before the training starts they end the process as usual."""

_Handler = Callable[[int, FrameType | None], Any] | int | None


class StoppedRun(Exception):  # noqa: N818 - no error: it was asked for
    """A training that ended early because a signal asked for it; what it had done is saved.

    Args:
        stop: The signal.
        step: Optimizer steps done; None if it came before the training began.
        saved: Those that are saved: one less where no checkpoint can be written, at the end of an epoch.
    """

    def __init__(self, stop: signal.Signals, step: int | None, saved: int | None = None) -> None:
        when = "at its start" if step is None else f"after step {step}"
        again = "" if step is None or saved in (None, step) else f", of which {saved} are saved"
        super().__init__(f"stopped by {stop.name} {when}{again}")
        self.signal = stop
        self.step = step
        self.saved = saved


@dataclass
class _Note:
    process: int = 0
    received: signal.Signals | None = None
    earlier: dict[int, _Handler] = field(default_factory=dict)


_note = _Note()


def listen(signals: tuple[signal.Signals, ...] = PREEMPTIONS) -> None:
    """Take a note of these signals from now on, in this process only.

    A handler that was there is kept for ``requeue``. A second ``SIGINT`` has its usual effect.
    """
    if _note.process != os.getpid():
        _note.process, _note.received = os.getpid(), None
    for number in signals:
        current = signal.getsignal(number)
        if current is not _take_note:
            _note.earlier[number] = current
            signal.signal(number, _take_note)


def leave(signals: tuple[signal.Signals, ...]) -> None:
    """Put the earlier handlers of these signals back."""
    for number in signals:
        if signal.getsignal(number) is _take_note:
            signal.signal(number, _note.earlier.pop(number))


def end() -> None:
    """Nothing is left to save: preemptions have no effect on the rest of this process.

    Python puts default actions back while it ends, and a signal then would make a finished job a failed one.
    """
    for number in PREEMPTIONS:
        if signal.getsignal(number) is _take_note:
            signal.signal(number, signal.SIG_IGN)


def forget() -> None:
    """Put every earlier handler back and drop the note."""
    for number, handler in _note.earlier.items():
        if signal.getsignal(number) in (_take_note, signal.SIG_IGN):  # else somebody has put another one there
            signal.signal(number, handler)
    _note.earlier.clear()
    _note.received = None


def received() -> signal.Signals | None:
    """The first signal that came, or None."""
    return _note.received if _note.process == os.getpid() else None


def note(number: int) -> None:
    """Note a signal that another rank received."""
    _note.process = os.getpid()
    _note.received = _note.received or signal.Signals(number)


def hand_over(stop: signal.Signals, folder: Path) -> None:
    """Leave a stopped run to a later process: the first rank's claim ends, a preempted job goes back into the queue."""
    mark_stopped(folder)
    job = this_job()
    if job is not None and stop in PREEMPTIONS:
        mark_queued(folder, job.id)
        requeue(job)


def requeue(job: Job) -> None:
    """Put the SLURM job of this process back into the queue; the first rank of a training calls it.

    The last thing a process does: submitit's own handler, which knows how to repeat the job, ends the process, and
    ``scontrol requeue`` has SLURM end it. Where several independent trainings share a job, the first that asks
    decides, and the question of the others fails without harm.
    """
    if "SUBMITIT_EXECUTOR" in os.environ:
        handler = _note.earlier.get(signal.SIGUSR2)
        if callable(handler):
            handler(signal.SIGUSR2, None)
        return
    print(f"deta: asking SLURM to queue job {job.id} again", file=sys.stderr, flush=True)
    done = subprocess.run(["scontrol", "requeue", job.id], check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"deta: scontrol requeue {job.id} failed: {done.stderr.strip()}", file=sys.stderr)


def _take_note(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _note.process:
        return  # a reading process that was forked from the training
    is_again = _note.received is not None
    _note.received = _note.received or signal.Signals(number)
    if number == signal.SIGINT and is_again:
        signal.default_int_handler(number, frame)
    if not is_again:
        os.write(2, f"\ndeta: {signal.Signals(number).name}: stopping at the next safe point\n".encode())
