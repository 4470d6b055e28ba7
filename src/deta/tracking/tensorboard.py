"""TensorBoard as a mirror of a run's own record: event files in the run directory."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from deta.tracking.mirror import Mirror, flat, harmless

FOLDER = "tensorboard"
"""In the run directory; all parts of a run write there."""
RANKING = "val/AP"
"""The metric that the table of hyperparameters shows beside them."""


class TensorBoardTracker(Mirror, TensorBoardLogger):
    """Writes metrics, configuration, pictures and tables as ``tensorboard --logdir`` shows them.

    A continued run writes another file into the same folder, and what an earlier part logged after the checkpoint is
    shown no more.

    Args:
        folder: The run directory.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
    """

    title = "TensorBoard"

    def __init__(self, *, folder: str | Path) -> None:
        if find_spec("tensorboard") is None:
            raise ModuleNotFoundError(
                "logger=tensorboard needs a package that is not installed: pip install tensorboard"
            )
        super().__init__(save_dir=folder, name=FOLDER, version="", default_hp_metric=False)

    def continue_at(self, step: int) -> None:
        """Hide rows of an earlier part of the run from this step on; before anything is logged."""
        self._kwargs["purge_step"] = step

    @harmless
    def log_hyperparams(
        self,
        params: Mapping[str, Any] | Namespace,
        *args: Any,  # noqa: ANN401 - as Lightning declares it
        **kwargs: Any,  # noqa: ANN401 - as Lightning declares it
    ) -> None:
        """Make ``params`` the row of the run in the table of hyperparameters."""
        from torch.utils.tensorboard.summary import hparams

        plain = (int, float, str, bool)
        values = {key: value if isinstance(value, plain) else str(value) for key, value in flat(params).items()}
        writer = self.experiment._get_file_writer()
        for summary in hparams(values, {RANKING: 0.0}):  # the value is that of the metric, where it is logged
            writer.add_summary(summary)

    @harmless
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one row."""
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, step)

    @harmless
    def log_pictures(self, name: str, pictures: Sequence[Image.Image], *, step: int) -> None:
        """Write pictures."""
        for k, picture in enumerate(pictures):
            tag = name if len(pictures) == 1 else f"{name}/{k}"
            self.experiment.add_image(tag, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    @harmless
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: int) -> None:
        """Write a table as text."""
        lines = [columns, ["---"] * len(columns), *rows]
        self.experiment.add_text(name, "\n".join("|".join(["", *map(_cell, line), ""]) for line in lines), step)

    @harmless
    def save(self) -> None:
        """Nothing to do: the writer flushes by itself, and the configuration lies in the run directory."""

    def finalize(self, status: str) -> None:
        """Nothing to do: ``finish`` ends the part of the run."""

    @harmless
    def finish(self, *, exit_code: int = 0, is_preempted: bool = False) -> None:
        """Write what is left."""
        if self._experiment is not None:
            self._experiment.close()


def _cell(value: object) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "\\|")
