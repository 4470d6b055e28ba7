"""What the benchmark scripts share: machine facts, interleaved timing of alternatives, one CSV per question."""

import csv
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

Row = Mapping[str, object]


def machine_facts(device: str) -> dict[str, object]:
    """Device, number of threads and versions, to stand beside every measured number."""
    facts: dict[str, object] = {"python": platform.python_version(), "torch": torch.__version__}
    if device == "cuda":
        import triton

        facts |= {
            "device": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "driver": _driver(),
            "triton": triton.__version__,
        }
    else:
        import numba

        facts |= {"device": _processor(), "threads": torch.get_num_threads(), "numba": numba.__version__}
    return facts


def time_once(call: Callable[[], object], device: str) -> float:
    """Seconds of one call: between two events on ``cuda``, by the clock on ``cpu``."""
    if device != "cuda":
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def interleaved_seconds(runs: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Wall-clock seconds of every alternative, one call of each per round after two unmeasured rounds.

    Interleaving lets a disturbance of the machine hit all alternatives alike: trust ratios, not times.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(rounds + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if index >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: Sequence[float], *, scale: float = 1e3) -> dict[str, float]:
    """Median, 20 % and 80 % quantile, multiplied by ``scale`` (milliseconds of seconds by default)."""
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return {
        "median": round(scale * statistics.median(values), 4),
        "p20": round(scale * deciles[1], 4),
        "p80": round(scale * deciles[7], 4),
    }


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write ``rows``, whose union of keys in order of appearance is the header."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)


def markdown_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The chosen columns of ``rows``; a missing value is an empty cell."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    cells = ([row.get(column) for column in columns] for row in rows)
    lines += ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in cells]
    return "\n".join(lines)


def _driver() -> str:
    version = Path("/proc/driver/nvidia/version")
    found = re.search(r"\d+\.\d+(\.\d+)?", version.read_text()) if version.exists() else None
    return found[0] if found else "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
