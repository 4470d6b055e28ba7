"""TensorBoard as a mirror of a run's own record: event files in the run directory."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deta.tracking.mirror import Mirror, flat, harmless

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
"""In the run directory; all parts of a run write there."""
RANKING = "val/AP"
"""The metric that the table of hyperparameters shows beside them."""


class TensorBoardTracker(Mirror):
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
        super().__init__(folder=folder)
        if find_spec("tensorboard") is None:
            raise ModuleNotFoundError(
                "logger=tensorboard needs a package that is not installed: pip install tensorboard"
            )
        self._first_step: int | None = None
        self._writer: SummaryWriter | None = None

    def continue_at(self, step: int) -> None:
        """Hide rows of an earlier part of the run from this step on; before anything is logged."""
        self._first_step = step

    @harmless
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as Lightning declares it
        """Make ``params`` the row of the run in the table of hyperparameters."""
        from torch.utils.tensorboard.summary import hparams

        plain = (int, float, str, bool)
        values = {key: value if isinstance(value, plain) else str(value) for key, value in flat(params).items()}
        writer = self._started()._get_file_writer()  # the public call makes another run of them
        for summary in hparams(values, {RANKING: 0.0}):  # the value is that of the metric, where it is logged
            writer.add_summary(summary)

    @harmless
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one row."""
        for name, value in metrics.items():
            self._started().add_scalar(name, value, step)

    @harmless
    def log_pictures(self, name: str, pictures: Sequence[Image.Image], *, step: int) -> None:
        """Write pictures."""
        for k, picture in enumerate(pictures):
            tag = name if len(pictures) == 1 else f"{name}/{k}"
            self._started().add_image(tag, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    @harmless
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: int) -> None:
        """Write a table as text."""
        lines = [columns, ["---"] * len(columns), *rows]
        self._started().add_text(name, "\n".join("|".join(["", *map(_cell, line), ""]) for line in lines), step)

    @harmless
    def finish(self, *, exit_code: int = 0, is_preempted: bool = False) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()

    def _started(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder / FOLDER), purge_step=self._first_step)
        return self._writer


def _cell(value: object) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "\\|")
