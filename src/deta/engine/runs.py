"""The state of a run, told by the files of its directory alone; nothing here needs PyTorch."""

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from deta.engine.cluster import states_in_queue, this_job

DONE = "done.json"
FAILED = "failed.json"
RUNNING = "running.json"
"""Which process trains the run: its claim."""
QUEUED = "queued.json"
LAST = "last.ckpt"
"""From which a run is continued."""
PREVIOUS = "previous.ckpt"
"""The one before, in case the last is damaged or was never written."""
SECONDS_OF_SILENCE = 3600.0
SECONDS_OF_WRITING = 60.0
"""A claim without content that is younger is being written."""
CELLS = "cells.json"
"""In the directory of a sweep: run directory of every cell to the overrides that make it."""


class RunState(StrEnum):
    """What can be done with a run."""

    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    RESUMABLE = "resumable"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True)
class RunStatus:
    """A run as its directory shows it.

    Attributes:
        folder: The run directory.
        state: Done; running (its process or job lives); queued (its job waits in SLURM's queue); resumable (it has a
            checkpoint); failed; missing (it never came to its first checkpoint).
        step: Optimizer steps done, None before the first row of metrics.
        metric: AP of the latest validation, None before the first.
        message: Why it failed, where it runs, or that a search has pruned it.
    """

    folder: Path
    state: RunState
    step: int | None = None
    metric: float | None = None
    message: str = ""


def mark_running(folder: Path) -> None:
    """Claim the run for this process; how it ended earlier is forgotten.

    Raises:
        FileExistsError: Another process trains it.
    """
    place = _here()
    path = folder / RUNNING
    _remove_claim_of_the_dead(folder)
    try:
        with path.open("x") as file:  # two processes that start at once cannot both make it
            file.write(json.dumps(place, indent=2) + "\n")
    except FileExistsError:
        if _read(path) != place:
            raise FileExistsError(
                f"{folder} is trained by another process ({read_status(folder).message or 'it has just started'}): "
                "give every training a folder of its own; one training on several devices takes trainer.devices"
            ) from None
    for name in (DONE, FAILED, QUEUED):
        (folder / name).unlink(missing_ok=True)


def mark_stopped(folder: Path) -> None:
    """Note that this process has ended without finishing the run; the claim of another one stays."""
    if _read(folder / RUNNING) == _here():
        (folder / RUNNING).unlink()


def mark_queued(folder: Path, job: str) -> None:
    """Note the SLURM job that is to do the run."""
    _write(folder / QUEUED, {"job": job})


def mark_failed(folder: Path, message: str) -> None:
    """Note why the run cannot go on."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / FAILED, {"message": message, "time": round(time.time(), 3)})
    mark_stopped(folder)


def failure(folder: Path) -> str | None:
    """Why the run cannot go on; None if nothing is noted."""
    note = _read(folder / FAILED)
    return None if note is None else str(note["message"])


def mark_done(folder: Path, result: Mapping[str, Any]) -> None:
    """Note that the run is finished; the last thing that a training writes."""
    _write(folder / DONE, result)
    mark_stopped(folder)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to continue from."""
    return any((folder / "checkpoints" / name).is_file() for name in (LAST, PREVIOUS))


def is_claimed_beside(folder: Path) -> bool:
    """Whether the run is claimed by this process or one that was started together with it, such as another rank."""
    place, here = _read(folder / RUNNING), _here()
    return place is not None and (place["job"], place["life"]) == (here["job"], here["life"])


def is_done(folder: Path) -> bool:
    """Whether the run is finished."""
    return (folder / DONE).is_file()


def is_pruned(folder: Path) -> bool:
    """Whether a search has ended the run early, so that its last scores are not those of a whole training."""
    return bool((_read(folder / DONE) or {}).get("is_pruned"))


def read_status(folder: Path) -> RunStatus:
    """Look at a run directory, which need not exist."""
    return read_statuses([folder])[0]


def read_statuses(folders: Iterable[Path]) -> list[RunStatus]:
    """Look at run directories; SLURM is asked once for all."""
    claims = {folder: None if is_done(folder) else _read(folder / RUNNING) for folder in folders}
    waiting = {folder: _job_of(None if is_done(folder) else _read(folder / QUEUED)) for folder in claims}
    jobs = [*map(_job_of, claims.values()), *waiting.values()]
    queue = states_in_queue([job for job in jobs if job is not None])
    statuses = []
    for folder, place in claims.items():
        step, metric = _progress(folder / "metrics.jsonl")
        state, message = _state(folder, place, waiting[folder], queue)
        statuses.append(RunStatus(folder, state, step, metric, message))
    return statuses


def find_runs(folder: Path) -> list[Path]:
    """Run directories at or below ``folder``, those named in a sweep's list included, sorted.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give a folder of runs")
    return sorted(set(_runs_below(folder)))


def read_cells(folder: Path) -> dict[str, list[str]]:
    """Overrides of every cell of a sweep by the name of its run directory; empty if there was no sweep."""
    path = folder / CELLS
    cells: dict[str, list[str]] = json.loads(path.read_text()) if path.is_file() else {}
    return cells


def find_cell(run: Path) -> list[str] | None:
    """Overrides that would make a run, which need not have started; None if no sweep lists it."""
    for parent in run.parents:
        words = read_cells(parent).get(str(run.relative_to(parent)))
        if words is not None:
            return words
    return None


def add_cells(folder: Path, cells: Mapping[str, Iterable[str]]) -> None:
    """Add cells to the list of a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / CELLS, {**read_cells(folder), **{name: list(words) for name, words in cells.items()}})


def table(runs: Iterable[RunStatus], root: Path) -> str:
    """One line for each run and a line of counts."""
    runs = list(runs)
    names = [str(run.folder.relative_to(root)) if run.folder != root else run.folder.name for run in runs]
    width = max([len(name) for name in names] + [len("run")])
    lines = [f"{'run':<{width}}  {'state':<9}  {'steps':>7}  {'AP':>6}"]
    for name, run in zip(names, runs, strict=True):
        step = "-" if run.step is None else str(run.step)
        metric = "-" if run.metric is None else f"{run.metric:.4f}"
        lines.append(f"{name:<{width}}  {run.state:<9}  {step:>7}  {metric:>6}  {run.message}".rstrip())
    counts = {state: sum(run.state == state for run in runs) for state in RunState}
    lines.append(", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no runs")
    return "\n".join(lines)


def _runs_below(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in read_cells(folder))
    if any((folder / name).exists() for name in (".hydra", DONE, FAILED, RUNNING)):
        yield folder
        return
    for child in folder.iterdir():
        if child.is_dir() and not child.name.startswith("."):
            yield from _runs_below(child)


def _state(
    folder: Path, place: Mapping[str, Any] | None, waiting: str | None, queue: Mapping[str, str] | None
) -> tuple[RunState, str]:
    """State and message; ``place`` is who claims to train it, ``waiting`` the job that is to."""
    if is_done(folder):
        return RunState.DONE, "pruned" if is_pruned(folder) else ""
    if place and _is_alive(place, folder, queue):
        return RunState.RUNNING, f"job {place['job']}" if place["job"] else f"process {place['pid']} on {place['host']}"
    for job in (waiting, _job_of(place)):
        if job is not None and job in (queue or {}) and not _is_own(job):
            return RunState.QUEUED, f"job {job}"
    failure = _read(folder / FAILED)
    if failure:
        return RunState.FAILED, str(failure["message"]).partition("\n")[0]
    if has_checkpoint(folder):
        return RunState.RESUMABLE, ""
    return RunState.MISSING, ""


def _here() -> dict[str, Any]:
    """This process, as a claim names it."""
    pid, job = os.getpid(), this_job()
    place = {"host": socket.gethostname(), "pid": pid, "started": _start_of(pid)}
    return place | ({"job": None, "life": 0} if job is None else {"job": job.id, "life": job.life})


def _job_of(note: Mapping[str, Any] | None) -> str | None:
    return None if note is None else note["job"]


def _is_own(job: str) -> bool:
    own = this_job()
    return own is not None and own.id == job


def _is_alive(place: Mapping[str, Any], folder: Path, queue: Mapping[str, str] | None) -> bool:
    """Whether the process or, seen from another machine, its job still lives.

    Where nothing can be asked, a run that wrote metrics within the hour counts as alive.
    """
    if place["host"] == socket.gethostname():
        started = _start_of(place["pid"])
        return started is not None and started == place["started"]
    if place["job"] is not None:
        own = this_job()
        if own is not None and own.id == place["job"]:
            return bool(own.life == place["life"])  # else an earlier life of this very job
        if queue is not None:
            return queue.get(place["job"], "PENDING") != "PENDING"
    traces = [path.stat().st_mtime for path in (folder / RUNNING, folder / "metrics.jsonl") if path.exists()]
    return time.time() - max(traces, default=0.0) < SECONDS_OF_SILENCE


def _remove_claim_of_the_dead(folder: Path) -> None:
    """Make room for a claim; a claim that another process makes at the same time stays."""
    path = folder / RUNNING
    place = _read(path)
    if place is None:
        if path.exists() and time.time() - path.stat().st_mtime > SECONDS_OF_WRITING:
            path.unlink(missing_ok=True)
    elif not _is_alive(place, folder, states_in_queue([place["job"]] if place["job"] else [])):
        aside = path.with_name(f"{RUNNING}.{socket.gethostname()}.{os.getpid()}.unfinished")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return  # another process has done it
        if _read(aside) == place:
            aside.unlink()
        else:
            aside.rename(path)


def _start_of(pid: int) -> str | None:
    """When a process of this machine started, in ticks since the boot; None if it is gone or dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


def _progress(path: Path) -> tuple[int | None, float | None]:
    """Steps done and the latest AP."""
    step, metric = None, None
    if path.is_file():
        with path.open() as file:
            for line in file:
                if not line.endswith("}\n"):
                    break
                if '"train/loss"' in line:
                    step = int(json.loads(line)["step"]) + 1
                elif '"val/AP"' in line:
                    row = json.loads(line)
                    step, metric = int(row["step"]) + 1, row["val/AP"]
    return step, metric


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a file; None if there is none, or no whole one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content


def _write(path: Path, content: object) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)
