"""Reading the files of offline W&B runs back, by the reader that W&B ships."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

from wandb.util import get_core_path


def parts(folder: Path) -> list[Path]:
    """The files of all parts of the run in a run directory, first the earliest."""
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def records(path: Path) -> list[dict[str, Any]]:
    """Every record of a file, by what ``wandb leet inspect`` starts."""
    command = [get_core_path(), "leet", "inspect", "--json", "--run-file", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The contents of the records of one kind, such as ``history``."""
    return [record[kind] for record in found if record["type"] == kind]


NO_NUMBERS = ("val/pictures", "val/classes", "val/class_curves", "val/class_scores", "val/confusion")
"""Begins of the names of pictures and tables."""


def numbers(found: list[dict[str, Any]]) -> dict[int, dict[str, float | None]]:
    """Metrics of every step, None where they are not finite; without W&B's own, pictures and tables."""
    rows = {}
    for record in of_kind(found, "history"):
        metrics = {name: value for name, value in record["item"].items() if not name.startswith(("_", *NO_NUMBERS))}
        rows[int(record["item"]["_step"])] = {name: _number(value) for name, value in metrics.items()}
    return rows


def merged(rows: list[dict[str, Any]]) -> dict[int, dict[str, float | None]]:
    """Rows of ``metrics.jsonl`` with those of one step as one row, as W&B keeps them."""
    steps: dict[int, dict[str, float | None]] = {}
    for row in rows:
        metrics = {name: value for name, value in row.items() if name not in ("step", "time")}
        steps.setdefault(row["step"], {}).update(metrics)
    return steps


def _number(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None
