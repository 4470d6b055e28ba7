"""How far a run is: what it has logged, and what its checkpoint holds; nothing here needs PyTorch."""

import os
import pickletools
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deta.utils.files import load_numbers

_BYTES_OF_HEAD = 4096
"""The number of steps stands among the first entries of a checkpoint."""
_BYTES_OF_TAIL = 1 << 16
"""Read first of a record: some hundred rows."""
_VALUES = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1")


@dataclass(frozen=True)
class Progress:
    """What the metrics of a run tell.

    Attributes:
        step: Optimizer steps done, None before the first row.
        metric: AP of the latest validation, None before the first.
        metric_epoch: Finished epochs at that validation, None where its row does not tell.
        damage: What is wrong with the file; empty if nothing is.
    """

    step: int | None = None
    metric: float | None = None
    metric_epoch: int | None = None
    damage: str = ""


def read_progress(path: Path) -> Progress:
    """Read what is needed of a ``metrics.jsonl``, which need not exist: from its end back to the latest validation.

    A damaged row among those ends what is read, and is told; others before them are not looked at.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            num_bytes = _BYTES_OF_TAIL
            while True:
                start = max(0, size - num_bytes)
                file.seek(start)
                if start:
                    file.readline()  # the rest of a row
                progress, is_whole = _read_rows(file, path.name)
                if start == 0 or (is_whole and not progress.damage):
                    return progress
                # Several times as much, so that all is read hardly more than once; for the number of a line, all.
                num_bytes = size if progress.damage else 8 * num_bytes
    except FileNotFoundError:
        return Progress()
    except OSError as error:
        return Progress(damage=str(error))


def _read_rows(rows: Iterable[bytes], name: str) -> tuple[Progress, bool]:
    """What rows tell up to their end or what is damaged of them, and whether a validation is among them."""
    step, metric, epoch, number, is_whole, damage = None, None, None, 0, False, ""
    try:
        for line in rows:
            number += 1
            if not line.endswith(b"\n"):
                break  # being written, or left by a killed process
            if not line.startswith(b"{") or not line.endswith(b"}\n"):
                raise ValueError(line)
            if b'"train/loss"' in line or b'"val/AP"' in line:
                row = load_numbers(line)
                step = int(row["step"]) + 1
                if "val/AP" in row:
                    is_whole = True
                    metric = row["val/AP"]
                    epoch = None if row.get("epoch") is None else int(row["epoch"]) + 1
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        damage = f"{name} is damaged in line {number}"
    metric = metric if isinstance(metric, (int, float)) else None
    return Progress(step=step, metric=metric, metric_epoch=epoch, damage=damage), is_whole


def saved_step(checkpoint: Path) -> int | None:
    """Optimizer steps of a checkpoint file; None where it does not tell.

    The number is found without building anything of what the file holds.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                head = file.read(_BYTES_OF_HEAD)
        values = (value for operation, value, _ in pickletools.genops(head) if operation.name in _VALUES)
        for value in values:
            if value == "global_step":
                step = next(values, None)
                return step if isinstance(step, int) else None
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile):
        pass  # no such file, a damaged one, or the end of what was read
    return None
