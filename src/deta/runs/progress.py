"""How far a run is: what it has logged, and what its checkpoint holds; nothing here needs PyTorch."""

import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path

from deta.utils.files import load_numbers

_BYTES_OF_HEAD = 4096
"""The number of steps stands among the first entries of a checkpoint."""
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
    """Read a ``metrics.jsonl``, which need not exist, up to its end or what is damaged of it."""
    step, metric, epoch, number = None, None, None, 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if not line.startswith(b"{"):
                    raise ValueError(line)
                if not line.endswith(b"}\n"):
                    break  # being written, or left by a killed process
                if b'"train/loss"' in line or b'"val/AP"' in line:
                    row = load_numbers(line)
                    step = int(row["step"]) + 1
                    if "val/AP" in row:
                        metric = row["val/AP"]
                        epoch = None if row.get("epoch") is None else int(row["epoch"]) + 1
    except FileNotFoundError:
        return Progress()
    except OSError as error:
        return Progress(damage=str(error))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        damage = f"{path.name} is damaged in line {number}"
    else:
        damage = ""
    return Progress(
        step=step,
        metric=metric if isinstance(metric, (int, float)) else None,
        metric_epoch=epoch,
        damage=damage,
    )


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
