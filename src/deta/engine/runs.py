"""The state of a run, told by the files of its directory alone; nothing here needs PyTorch."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

DONE = "done.json"
FAILED = "failed.json"
RUNNING = "running.json"
SECONDS_OF_SILENCE = 3600.0
CELLS = "cells.json"
"""In the directory of a sweep: run directory of every cell to the overrides that make it."""


class RunState(StrEnum):
    """What can be done with a run."""

    DONE = "done"
    RUNNING = "running"
    RESUMABLE = "resumable"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True)
class RunStatus:
    """A run as its directory shows it.

    Attributes:
        folder: The run directory.
        state: Done; running (its process or job lives); resumable (it has a checkpoint); failed; missing (it never
            came to its first checkpoint).
        step: Optimizer steps done, None before the first row of metrics.
        metric: AP of the latest validation, None before the first.
        message: Why it failed, or where it runs.
    """

    folder: Path
    state: RunState
    step: int | None = None
    metric: float | None = None
    message: str = ""


def mark_running(folder: Path) -> None:
    """Note this process; an earlier failure is forgotten."""
    pid = os.getpid()
    place = {"host": socket.gethostname(), "pid": pid, "started": _start_of(pid), "job": job_id()}
    _write(folder / RUNNING, place)
    (folder / FAILED).unlink(missing_ok=True)


def mark_stopped(folder: Path) -> None:
    """Note that this process has ended without finishing the run."""
    (folder / RUNNING).unlink(missing_ok=True)


def mark_failed(folder: Path, message: str) -> None:
    """Note why the run cannot go on."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / FAILED, {"message": message, "time": round(time.time(), 3)})
    mark_stopped(folder)


def mark_done(folder: Path, result: Mapping[str, Any]) -> None:
    """Note that the run is finished; the last thing that a training writes."""
    _write(folder / DONE, result)
    mark_stopped(folder)


def is_done(folder: Path) -> bool:
    """Whether the run is finished."""
    return (folder / DONE).is_file()


def job_id() -> str | None:
    """SLURM's name of this job, ``<array>_<task>`` inside a job array; None outside of SLURM."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def read_status(folder: Path) -> RunStatus:
    """Look at a run directory, which need not exist."""
    step, metric = _progress(folder / "metrics.jsonl")
    state, message = _state(folder)
    return RunStatus(folder, state, step, metric, message)


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


def _state(folder: Path) -> tuple[RunState, str]:
    if is_done(folder):
        return RunState.DONE, ""
    place = _read(folder / RUNNING)
    if place and _is_alive(place, folder):
        return RunState.RUNNING, f"job {place['job']}" if place["job"] else f"process {place['pid']} on {place['host']}"
    failure = _read(folder / FAILED)
    if failure:
        return RunState.FAILED, str(failure["message"]).partition("\n")[0]
    if any((folder / "checkpoints" / name).is_file() for name in ("last.ckpt", "previous.ckpt")):
        return RunState.RESUMABLE, ""
    return RunState.MISSING, ""


def _is_alive(place: dict[str, Any], folder: Path) -> bool:
    """Whether the process or, seen from another machine, its job still lives.

    Where nothing can be asked, a run that wrote metrics within the hour counts as alive.
    """
    if place["host"] == socket.gethostname():
        started = _start_of(place["pid"])
        return bool(place["pid"] == os.getpid() or (started is not None and started == place["started"]))
    if place["job"] is not None:
        command = ["squeue", "--noheader", "--job", place["job"], "--format", "%T"]
        try:
            answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            pass
        else:
            return answer.returncode == 0 and "RUNNING" in answer.stdout
    traces = [path.stat().st_mtime for path in (folder / RUNNING, folder / "metrics.jsonl") if path.exists()]
    return time.time() - max(traces, default=0.0) < SECONDS_OF_SILENCE


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
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content


def _write(path: Path, content: object) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)
