"""The run's own record of its metrics, whatever other trackers do."""

import json
import logging
import math
import os
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import msgspec
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from deta.utils.files import load_numbers, named
from deta.utils.tables import write_csv

_log = logging.getLogger(__name__)

SECONDS_BETWEEN_TABLES = 30.0
SPEED_KEY, VAL_SPEED_KEY = "speed/images_per_s", "speed/val_images_per_s"
GPU_MEMORY_KEY, MEMORY_KEY = "speed/gpu_memory_gb", "speed/memory_gb"
CLOCK_KEYS = ("time", "data/train_wait", "data/val_wait", SPEED_KEY, VAL_SPEED_KEY, GPU_MEMORY_KEY, MEMORY_KEY)
"""Keys of a row that depend on the machine; all others are equal in two runs of one configuration and seed."""


class MetricsLogger(Logger):
    """Appends every row of metrics to ``metrics.jsonl`` at once, and keeps ``metrics.csv`` as its table.

    A line holds ``step``, ``time`` (seconds since 1970) and the metrics of one call. Lines of an earlier
    process of the same run are kept up to the checkpoint from which it is continued. Figures that are not finite
    stand as null, since JSON has none.

    Args:
        folder: The run directory, made if need be.
    """

    def __init__(self, *, folder: str | Path) -> None:
        super().__init__()
        self._folder = Path(folder)
        self._table_time = 0.0
        self._is_whole = False  # whether the file is known to end with a whole line

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self._folder.name

    @property
    def version(self) -> str:
        """A run directory holds one run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self._folder)

    @property
    def log_dir(self) -> str:
        """The run directory."""
        return str(self._folder)

    @property
    def path(self) -> Path:
        """The file that holds the record."""
        return self._folder / "metrics.jsonl"

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as Lightning declares it
        """The configuration lies in the run directory as ``config.yaml``; nothing to do."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one line."""
        row = {"step": step, "time": round(time.time(), 3)}
        row |= {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        try:
            if not self._is_whole:
                self._folder.mkdir(parents=True, exist_ok=True)
                self.path.touch()
                _cut_unfinished_line(self.path)
                self._is_whole = True
            with self.path.open("r+") as file:  # never made anew: a directory removed meanwhile is an error
                file.seek(0, os.SEEK_END)
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            told = named(error, self.path)
            if not self._is_whole:
                told.strerror = f"{told.strerror}, where logger.file.folder has the metrics written"
            raise told from error

    def end(self) -> int:
        """Bytes of the record so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @rank_zero_only
    def cut_back(self, end: int, row: Mapping[str, Any] | None) -> None:
        """Drop what was written after ``end`` bytes, which the continued run writes anew.

        Args:
            end: Length of the record when the checkpoint was saved.
            row: ``step`` and ``metrics`` that belong to the checkpoint and were not written yet, or None.
        """
        if self.end() < end:
            _log.warning("%s is shorter than at the checkpoint: rows of earlier steps are missing", self.path)
        elif self.path.exists():
            os.truncate(self.path, end)
        if row is not None:
            self.log_metrics(row["metrics"], row["step"])

    @rank_zero_only
    def save(self) -> None:
        """Bring the table up to date, not more often than every half minute."""
        if time.monotonic() - self._table_time > SECONDS_BETWEEN_TABLES:
            self._write_table()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Bring the table up to date."""
        self._write_table()

    def _write_table(self) -> None:
        self._table_time = time.monotonic()
        if self.path.exists():
            write_csv(self._folder / "metrics.csv", read_metrics(self.path))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``metrics.jsonl``: numbers and nulls by name; a last line that a kill left unfinished is dropped.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is damaged, or holds something else.
    """
    rows = []
    content = path.read_bytes()
    is_unfinished = not content.endswith(b"\n")
    lines = content.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(msgspec.convert(load_numbers(line), dict[str, int | float | None]))
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            if is_unfinished and number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: no row of numbers ({error})") from error
    return rows


def _cut_unfinished_line(path: Path) -> None:
    """Remove what a killed process wrote of its last line, so that the next one starts a line."""
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def logged_step(trainer: pl.Trainer) -> int:
    """The step under which Lightning logs what a validation finds: that of the last optimizer step, from 0."""
    return max(trainer.global_step - 1, 0)


def ends_logged_step(trainer: pl.Trainer, batch_idx: int, every_n_steps: int | None = None) -> bool:
    """Whether this batch, which was just trained on, ends an optimizer step whose metrics Lightning logs.

    Args:
        trainer: While it fits.
        batch_idx: Place in the epoch.
        every_n_steps: Ask for every so many steps instead, from 1.
    """
    batches = batch_idx + 1
    is_step = batches % trainer.accumulate_grad_batches == 0 or batches == trainer.num_training_batches
    interval = every_n_steps or trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning adds it when it is made
    return bool(is_step and trainer.global_step % interval == 0)
