"""What a run took, told by its directory."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from deta.runs.config import part_files
from deta.studies.results import Cost
from deta.tracking.metrics import GPU_MEMORY_KEY, MEMORY_KEY, SPEED_KEY, VAL_SPEED_KEY
from deta.utils.files import read_json
from deta.utils.wording import counted


def read_environments(folder: Path) -> list[dict[str, Any]]:
    """What every part of a run was made with, as its ``environment*.json`` tell.

    Raises:
        ValueError: One is damaged.
    """
    environments = []
    for path in part_files(folder, "environment.json"):
        environment = read_json(path, dict[str, Any])
        if not isinstance(environment.get("devices"), list) or not environment["devices"]:
            raise ValueError(f"{path} is damaged: it holds no devices")
        if "started" in environment and not _is_finite(environment["started"]):
            raise ValueError(f"{path} is damaged: started is no time")
        environments.append(environment)
    return environments


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def read_cost(folder: Path, config: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Cost | None:
    """Time, devices and steps of a run, all its parts together.

    A part lasts from its start, when its ``environment*.json`` is written, to its last row of metrics. What a killed
    process did after its last checkpoint is no part of the record, and so of no part of the cost.

    Args:
        folder: The run directory.
        config: The resolved configuration of the run.
        history: Rows of ``metrics.jsonl``.

    Returns:
        The cost; None before the first row.

    Raises:
        ValueError: A record of the environment is damaged, or the settings of the trainer are.
    """
    environments = read_environments(folder)
    trained = [row for row in history if _is_finite(row.get("step"))]
    times = [float(row["time"]) for row in history if _is_finite(row.get("time"))]
    if not environments or not trained or not times:
        return None
    starts = sorted(environment["started"] for environment in environments if "started" in environment)
    device, num_devices = _devices(environments[0], config["trainer"])
    speeds = [_logged(history, key) for key in (SPEED_KEY, VAL_SPEED_KEY)]
    memory = _logged(history, GPU_MEMORY_KEY) or _logged(history, MEMORY_KEY)
    parameters = environments[-1].get("parameters")
    return Cost(
        seconds=time_in_parts(starts, times),
        num_devices=num_devices,
        device=device,
        num_steps=max(int(row["step"]) for row in trained) + 1,
        num_epochs=max((int(row["epoch"]) for row in trained if _is_finite(row.get("epoch"))), default=0) + 1,
        num_parameters=parameters if type(parameters) is int else None,
        images_per_s=median(speeds[0]) if speeds[0] else None,
        val_images_per_s=median(speeds[1]) if speeds[1] else None,
        memory_gb=max(memory, default=None),
    )


def _logged(history: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [float(row[key]) for row in history if _is_finite(row.get(key))]


def time_in_parts(starts: Sequence[float], times: Sequence[float]) -> float:
    """Seconds from each start to the last time before the next one; the gaps between parts do not count.

    Args:
        starts: When each part started, ascending; where times lie before all of them, the first time is a start.
        times: When something was recorded, at least one.
    """
    first = min(times)
    starts = [first, *starts] if not starts or first < starts[0] else list(starts)
    ends = [*starts[1:], float("inf")]
    parts = [(start, [time for time in times if start <= time < end]) for start, end in zip(starts, ends, strict=True)]
    return sum(max(inside) - start for start, inside in parts if inside)


def _devices(environment: Mapping[str, Any], trainer: Mapping[str, Any]) -> tuple[str, int]:
    """Name of a device that the trainer held, and how many."""
    names = [str(name) for name in environment["devices"]]
    gpus = [name for name in names if name.startswith("cuda")]
    asked = trainer.get("devices", "auto")
    if trainer.get("accelerator", "auto") == "cpu" or not gpus:
        threads = environment.get("num_threads")
        return (names[0] if threads is None else f"{names[0]}, {counted(threads, 'thread')}"), 1
    count = len(gpus) if asked in ("auto", -1, "-1") else len(asked) if isinstance(asked, list) else int(str(asked))
    return gpus[0].partition(": ")[2], count * int(str(trainer.get("num_nodes", 1)))
