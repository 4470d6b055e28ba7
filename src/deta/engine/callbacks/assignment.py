"""Logs what the assignment did in every epoch: the research output beside AP."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from deta.engine.module import DetectionModule
from deta.engine.ranks import gather
from deta.structures import SIZE_NAMES, Batch, MatchStatistics

_KEY = "deta_assignment"


class AssignmentStatistics(pl.Callback):
    """Sums the statistics of every assignment over an epoch and all ranks.

    Logged as ``assign/proposals/...`` for the first stage, ``assign/layers/...`` for the last decoder layer and, where
    every layer is assigned anew, ``assign/layer<i>/...`` for the others; see ``summary`` for the names.
    """

    def __init__(self) -> None:
        self._sums: dict[str, MatchStatistics] = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting anew."""
        self._sums = {}

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Add a batch; nothing leaves the device."""
        assert isinstance(pl_module, DetectionModule)
        assert pl_module.losses is not None
        losses = pl_module.losses
        for name, stage in losses.assignments().items():
            stats = losses.matches[stage].stats
            self._sums[name] = self._sums[name] + stats if name in self._sums else stats

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the sums of every rank."""
        sums = {
            stage: {field.name: getattr(stats, field.name).cpu() for field in fields(stats)}
            for stage, stats in self._sums.items()
        }
        checkpoint[_KEY] = gather(sums)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the sums of this rank."""
        ranks = checkpoint.get(_KEY, [])
        if len(ranks) == trainer.world_size:
            sums = ranks[trainer.global_rank]
            self._sums = {stage: MatchStatistics(**parts).to(pl_module.device) for stage, parts in sums.items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sum over ranks and log."""
        for stage, stats in self._sums.items():
            total = _sum_over_ranks(stats, trainer)
            pl_module.log_dict({f"assign/{stage}/{name}": value for name, value in summary(total).items()})


def summary(stats: MatchStatistics) -> Mapping[str, float]:
    """Readable figures of summed statistics; a figure without objects behind it is left out.

    Per object size (``_small``, ``_medium``, ``_large``) and over all of them (no suffix):
    ``positives_per_object``, ``unmatched_share`` (objects without a positive), ``mean_iou`` (of positives) and
    ``rescued_share`` (positives by the closest-box rule alone). Then ``contested_per_image``,
    ``ignored_per_image`` and ``cut_images_share``.
    """
    host = stats.to("cpu")
    figures: dict[str, float] = {}
    parts = {"": slice(None)} | {f"_{name}": slice(k, k + 1) for k, name in enumerate(SIZE_NAMES)}
    for suffix, part in parts.items():
        objects, positives = float(host.num_objects[part].sum()), float(host.num_positives[part].sum())
        if objects > 0:
            figures[f"positives_per_object{suffix}"] = positives / objects
            figures[f"unmatched_share{suffix}"] = float(host.num_unmatched[part].sum()) / objects
        if positives > 0:
            figures[f"mean_iou{suffix}"] = float(host.sum_iou[part].sum()) / positives
            figures[f"rescued_share{suffix}"] = float(host.num_rescued[part].sum()) / positives
    images = float(host.num_images)
    if images > 0:
        figures["contested_per_image"] = float(host.num_contested) / images
        figures["ignored_per_image"] = float(host.num_ignored) / images
        figures["cut_images_share"] = float(host.num_cut_images) / images
    return figures


def _sum_over_ranks(stats: MatchStatistics, trainer: pl.Trainer) -> MatchStatistics:
    names = [field.name for field in fields(stats)]
    parts: list[Tensor] = [getattr(stats, name) for name in names]
    flat = torch.cat([part.reshape(-1) for part in parts])
    flat = trainer.strategy.reduce(flat, reduce_op="sum")
    pieces = flat.split([part.numel() for part in parts])
    return MatchStatistics(
        **{name: piece.view(part.shape) for name, piece, part in zip(names, pieces, parts, strict=True)}
    )
