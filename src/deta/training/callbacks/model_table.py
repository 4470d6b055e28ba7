"""Tells at the start what the detector is made of."""

import logging
from collections.abc import Sequence

import lightning.pytorch as pl

from deta.models.summary import PartSummary, summarise
from deta.runs.table import aligned
from deta.training.module import DetectionModule
from deta.utils.checks import require_int

_log = logging.getLogger(__name__)


class ModelTable(pl.Callback):
    """Tells parameters of every part of the detector and, if asked for, its operations.

    Args:
        flops: Height and width in pixels, each from 1, of an image whose floating-point operations are counted, in a
            second or two; None counts none.
    """

    def __init__(self, *, flops: Sequence[int] | None = None) -> None:
        if flops is not None and len(flops) != 2:
            raise ValueError(f"callbacks.model_table.flops must be null or [height, width] in pixels, got {flops}")
        for side in flops or ():
            require_int("callbacks.model_table.flops: each side", side, low=1)
        self._size = None if flops is None else (flops[0], flops[1])

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the table."""
        assert isinstance(pl_module, DetectionModule)
        if trainer.is_global_zero:
            _log.info("%s", table(summarise(pl_module.detector, self._size), self._size))


def table(parts: Sequence[PartSummary], size: tuple[int, int] | None) -> str:
    """One line for each part, the whole detector last."""
    *_, whole = parts
    head = f"The model has {whole.num_parameters:,} parameters, of which {whole.num_trained:,} are trained"
    columns = ["part", "parameters", "trained"] + ([] if size is None else [f"GFLOPs at {size[0]} x {size[1]}"])
    rows = [[*columns, ""]]
    for part in parts:
        flops = [] if part.flops is None else [f"{part.flops / 1e9:,.3f}"]
        rows.append([part.name or "all", f"{part.num_parameters:,}", f"{part.num_trained:,}", *flops, ""])
    return "\n".join([head, *(f"  {line}" for line in aligned(rows, range(1, len(columns)), None))])
