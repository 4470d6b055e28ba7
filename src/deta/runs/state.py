"""The state of a run, told by the files of its directory alone; nothing here needs PyTorch."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from deta.runs import progress as run_progress
from deta.runs.claims import Place, claim, is_held, is_taken, read_claims, release, seems_alive
from deta.runs.cluster import QueuedJob, jobs_in_queue, this_job
from deta.runs.progress import read_progress
from deta.utils.files import read_json, write_json

_log = logging.getLogger(__name__)
Content = TypeVar("Content")

DONE = "done.json"
FAILED = "failed.json"
QUEUED = "queued.json"
"""The SLURM job that is to do the run, or does it."""
LAST = "last.ckpt"
"""From which a run is continued."""
PREVIOUS = "previous.ckpt"
"""The one before, in case the last is damaged or was never written."""
NUM_IDLE_LIVES = 3
"""So many lives of a job in a row may bring a run no further."""
_STILL_TO_START = ("PENDING", "CONFIGURING")


class RunState(StrEnum):
    """What can be done with a run."""

    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    RESUMABLE = "resumable"
    FAILED = "failed"
    MISSING = "missing"


TAKEN = (RunState.DONE, RunState.RUNNING, RunState.QUEUED)
"""States of a run in which there is nothing to start."""


@dataclass(frozen=True)
class RunStatus:
    """A run as its directory shows it.

    Attributes:
        folder: The run directory.
        state: Done; running (its process or job lives); queued (its job waits in SLURM's queue); resumable (it has a
            checkpoint); failed; missing (it never came to its first checkpoint).
        step: Optimizer steps that are known to be done, by the metrics or the checkpoint; None before the first.
        saved: Those of the checkpoint, from which it would go on; None without one.
        metric: AP of the latest validation, None before the first.
        metric_epoch: Finished epochs at that validation; None before the first.
        message: Why it failed, where it runs, what its job waits for, that a search has pruned it, or which of its
            files are damaged.
        is_refused: Whether it failed because its command is wrong, so that the same command would fail again.
    """

    folder: Path
    state: RunState
    step: int | None = None
    metric: float | None = None
    message: str = ""
    saved: int | None = None
    is_refused: bool = False
    metric_epoch: int | None = None


@dataclass(frozen=True)
class _Note:
    """A job and what it has brought.

    Attributes:
        job: Its id.
        life: The life of it that has begun to train, None before one has.
        saved: Optimizer steps of the checkpoint when that life began.
        num_idle: Lives in a row, up to that one, that began with as many.
    """

    job: str
    life: int | None = None
    saved: int | None = None
    num_idle: int = 0


@dataclass(frozen=True)
class _Failure:
    message: str
    is_refused: bool = False


def mark_running(folder: Path) -> None:
    """Claim the run for this process; why it failed earlier is forgotten.

    Raises:
        RunTakenError: Another process trains it.
        ValueError: Several lives of this job have brought the run no further.
    """
    claim(folder)
    _note_life(folder)
    (folder / FAILED).unlink(missing_ok=True)


def mark_unfinished(folder: Path) -> None:
    """Forget that the run was done: it is trained further. Until then one that is done stays so, whatever fails."""
    (folder / DONE).unlink(missing_ok=True)


def mark_stopped(folder: Path) -> None:
    """Note that this process has ended without finishing the run; the claim of another one stays."""
    release(folder)


def mark_queued(folder: Path, job: str) -> None:
    """Note the SLURM job that is to do the run."""
    before = _read_or_none(folder / QUEUED, _Note)
    kept = {} if before is None or before.job != job else {"saved": before.saved, "num_idle": before.num_idle}
    write_json(folder / QUEUED, {"job": job, **kept})


def mark_failed(folder: Path, message: str, *, is_refused: bool = False) -> None:
    """Note why the run cannot go on, unless another process trains it or it is done; what cannot be written is logged.

    Args:
        folder: The run directory.
        message: Why.
        is_refused: Whether its command is wrong, so that the same one would fail again.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_taken(folder) and not is_done(folder):
            note_failure(folder, message, is_refused=is_refused)
        release(folder)
    except OSError as error:
        _log.warning("The failure of %s is not on record: %s", folder, error)


def note_failure(folder: Path, message: str, *, is_refused: bool = False) -> None:
    """Write down why the run cannot go on, whoever holds it; see ``mark_failed``."""
    write_json(folder / FAILED, {"message": message, "time": round(time.time(), 3), "is_refused": is_refused})


def failure(folder: Path) -> str | None:
    """Why the run cannot go on; None if nothing is noted."""
    note = _read_or_none(folder / FAILED, _Failure)
    return None if note is None else note.message


def mark_done(folder: Path, result: Mapping[str, Any]) -> None:
    """Note that the run is finished; the last thing that a training writes."""
    write_json(folder / DONE, result)
    release(folder)


def _note_life(folder: Path) -> None:
    """Note the job of this process and how far the run is; outside of one forget the job that was to do it."""
    job = this_job()
    if job is None:
        (folder / QUEUED).unlink(missing_ok=True)
        return
    saved, before = saved_step(folder), _read_or_none(folder / QUEUED, _Note)
    is_idle = before is not None and before.job == job.id and before.life != job.life and before.saved == saved
    num_idle = before.num_idle + 1 if before is not None and is_idle and job.life > 0 else 0
    if num_idle >= NUM_IDLE_LIVES:
        (folder / QUEUED).unlink(missing_ok=True)
        raise ValueError(
            f"job {job.id} was queued again {num_idle} times without saving a step beyond {saved or 0}: give it more "
            "time (cluster.options.time), a later warning (cluster.options.signal) or more saves "
            "(callbacks.resume.every_n_steps)"
        )
    write_json(folder / QUEUED, {"job": job.id, "life": job.life, "saved": saved, "num_idle": num_idle})


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to continue from."""
    return any((folder / "checkpoints" / name).is_file() for name in (LAST, PREVIOUS))


def is_done(folder: Path) -> bool:
    """Whether the run is finished; a damaged note of that does not count, and the end is done again."""
    return read_done(folder) is not None


def read_done(folder: Path) -> dict[str, Any] | None:
    """What the end of a run has left: steps, epochs and scores; None if it is not finished or the note is damaged."""
    return _read_or_none(folder / DONE, dict[str, Any])


def is_pruned(folder: Path) -> bool:
    """Whether a search has ended the run early, so that its last scores are not those of a whole training."""
    return bool((read_done(folder) or {}).get("is_pruned"))


def saved_step(folder: Path) -> int | None:
    """Optimizer steps of the checkpoint from which a run would go on; None without one."""
    steps = (run_progress.saved_step(folder / "checkpoints" / name) for name in (LAST, PREVIOUS))
    return next((step for step in steps if step is not None), None)


def read_status(folder: Path) -> RunStatus:
    """Look at a run directory, which need not exist."""
    return read_statuses([folder])[0]


def read_statuses(folders: Iterable[Path], *, is_own_told: bool = True) -> list[RunStatus]:
    """Look at run directories; SLURM is asked once for all. What is damaged in one is told in its message.

    Args:
        folders: The directories.
        is_own_told: Whether runs that this process holds are running; else they are what they would be without it.
    """
    records = [_read_records(folder, is_own_told=is_own_told) for folder in folders]
    queue = jobs_in_queue({job for each in records for job in each.jobs()})
    return [_judge(each, queue) for each in records]


@dataclass
class _Records:
    """The notes of a run as they lie there; ``damage`` is what could not be read."""

    folder: Path
    done: Mapping[str, Any] | None = None
    claims: list[tuple[Path, Place]] = field(default_factory=list)
    note: _Note | None = None
    failure: _Failure | None = None
    damage: list[str] = field(default_factory=list)

    def jobs(self) -> Iterator[str]:
        """Jobs that the notes name."""
        yield from (place.job for _, place in self.claims if place.job is not None)
        if self.note is not None:
            yield self.note.job

    def read(self, name: str, kind: type[Content]) -> Content | None:
        """One note."""
        try:
            return read_json(self.folder / name, kind)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            self.damage.append(f"{name} is damaged")
            return None


def _read_records(folder: Path, *, is_own_told: bool) -> _Records:
    records = _Records(folder)
    records.done = records.read(DONE, dict[str, Any])
    if records.done is None:
        is_own_left_out = not is_own_told and is_held(folder)
        for path, place in [] if is_own_left_out else read_claims(folder):
            if place is None:
                records.damage.append(f"{path.name} is damaged")
            else:
                records.claims.append((path, place))
        records.note = records.read(QUEUED, _Note)
        records.failure = records.read(FAILED, _Failure)
    return records


def _judge(records: _Records, queue: Mapping[str, QueuedJob] | None) -> RunStatus:
    """The state that the notes and SLURM tell."""
    folder = records.folder
    progress = read_progress(folder / "metrics.jsonl")
    state, message = _state(records, queue)
    damage = [*records.damage, *([progress.damage] if progress.damage else [])]
    saved = saved_step(folder)
    return RunStatus(
        folder=folder,
        state=state,
        step=max((step for step in (progress.step, saved) if step is not None), default=None),
        metric=progress.metric,
        metric_epoch=progress.metric_epoch,
        message="; ".join([message, *damage] if message else damage),
        saved=saved,
        is_refused=state == RunState.FAILED and records.failure is not None and records.failure.is_refused,
    )


def _state(records: _Records, queue: Mapping[str, QueuedJob] | None) -> tuple[RunState, str]:
    if records.done is not None:
        return RunState.DONE, "pruned" if records.done.get("is_pruned") else ""
    for path, place in records.claims:
        if seems_alive(path, place, queue):
            return RunState.RUNNING, str(place)
    for job in _awaited_jobs(records, queue or {}):
        reason = (queue or {})[job].reason
        return RunState.QUEUED, f"job {job}{f' waits: {reason}' if reason else ''}"
    if records.failure is not None or (records.folder / FAILED).exists():
        return RunState.FAILED, "" if records.failure is None else records.failure.message.partition("\n")[0]
    return (RunState.RESUMABLE if has_checkpoint(records.folder) else RunState.MISSING), ""


def _awaited_jobs(records: _Records, queue: Mapping[str, QueuedJob]) -> Iterator[str]:
    """Jobs that are still to do the run: they wait, have begun no training of it yet, or are queued again."""
    own = this_job()
    lives: dict[str | None, int | None] = {place.job: place.life for _, place in records.claims}
    if records.note is not None:
        lives[records.note.job] = records.note.life
    for job, life in lives.items():
        entry = None if job is None or (own is not None and own.id == job) else queue.get(job)
        if entry is not None and (life is None or entry.state in _STILL_TO_START or entry.num_restarts > life):
            yield str(job)


def _read_or_none(path: Path, kind: type[Content]) -> Content | None:
    """The content of a note; None if there is none or it is damaged."""
    try:
        return read_json(path, kind)
    except (OSError, ValueError):
        return None
