"""Logs what the assignment did in every epoch: the research output beside AP."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from deta.assign import GivenAssigner
from deta.structures import SIZE_NAMES, Batch, MatchStatistics
from deta.training.module import DetectionModule
from deta.training.ranks import gather
from deta.training.stage_names import assignment_names

_KEY = "deta_assignment"


class AssignmentStatistics(pl.Callback):
    """Sums the statistics of every assignment over an epoch and all ranks.

    Logged as ``assign/proposals/...`` for the first stage, ``assign/layers/...`` for the last decoder layer and, where
    every layer is assigned anew, ``assign/layer<i>/...`` for the others; see ``summary`` for the names. Copies of a
    group of queries count together: each of them is an assignment of all objects. Objects for which a group of
    denoising queries had no room are unmatched there, of which a warning tells once.
    """

    def __init__(self) -> None:
        self._sums: dict[str, MatchStatistics] = {}
        self._roles: dict[str, str] = {}
        self._has_told = False

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
        assert pl_module.last is not None
        assert pl_module.last.losses is not None
        matches = pl_module.last.losses.matches
        for name, keys in assignment_names(matches).items():
            self._roles[name] = keys[0].role
            for stats in (matches[key].statistics for key in keys):
                self._sums[name] = self._sums[name] + stats if name in self._sums else stats

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the sums of every rank."""
        checkpoint[_KEY] = gather({stage: asdict(stats.to("cpu")) for stage, stats in self._sums.items()})

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the sums of this rank."""
        ranks = checkpoint.get(_KEY, [])
        if len(ranks) == trainer.world_size:
            sums = ranks[trainer.global_rank]
            self._sums = {
                stage: MatchStatistics(**_current(parts)).to(pl_module.device) for stage, parts in sums.items()
            }

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sum over ranks and log."""
        assert isinstance(pl_module, DetectionModule)
        for stage, stats in self._sums.items():
            total = _sum_over_ranks(stats, trainer)
            if (role := self._roles.get(stage)) is not None:  # else no batch came since the training went on
                self._tell_of_dropped(role, total, pl_module)
            pl_module.log_dict({f"assign/{stage}/{name}": value for name, value in summary(total).items()})

    def _tell_of_dropped(self, role: str, total: MatchStatistics, module: DetectionModule) -> None:
        rule = None if module.criterion is None else module.criterion.rules.get(role)
        dropped, objects = (int(count.sum()) for count in (total.num_unmatched, total.num_objects))
        if self._has_told or rule is None or not isinstance(rule.assigner, GivenAssigner) or dropped == 0:
            return
        self._has_told = True
        rank_zero_warn(
            f"{dropped} of {objects} objects had no query of model.body.groups.{role} in this epoch, since images have "
            f"more than model.body.groups.{role}.max_slots has room for"
        )


def summary(stats: MatchStatistics) -> Mapping[str, float]:
    """Readable figures of summed statistics; a figure without objects behind it is left out.

    Per object size (``_small``, ``_medium``, ``_large``) and over all of them (no suffix): ``positives_per_object``,
    ``unmatched_share`` (objects without a positive), ``mean_iou`` (of positives), and for every note of the rule on
    candidates ``<note>_share`` (of positives), such as ``rescued_share`` (positive by the closest-box rule alone). Then
    ``ignored_per_image``, ``<note>_per_image`` and, for notes on images, ``<note>_images_share``.
    """
    host = stats.to("cpu")
    figures: dict[str, float] = {}
    by_size = {name: count for name, count in host.noted.items() if count.dim() == 1}
    parts = {"": slice(None)} | {f"_{name}": slice(k, k + 1) for k, name in enumerate(SIZE_NAMES)}
    for suffix, part in parts.items():
        objects, positives = float(host.num_objects[part].sum()), float(host.num_positives[part].sum())
        if objects > 0:
            figures[f"positives_per_object{suffix}"] = positives / objects
            figures[f"unmatched_share{suffix}"] = float(host.num_unmatched[part].sum()) / objects
        if positives > 0:
            figures[f"mean_iou{suffix}"] = float(host.sum_iou[part].sum()) / positives
            for name, count in by_size.items():
                figures[f"{name}_share{suffix}"] = float(count[part].sum()) / positives
    images = float(host.num_images)
    if images > 0:
        figures["ignored_per_image"] = float(host.num_ignored) / images
        for name, count in host.noted.items():
            figures[f"{name}_per_image" if name in by_size else f"{name}_images_share"] = float(count.sum()) / images
    return figures


def _current(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Stored sums as ``MatchStatistics`` has them; earlier versions had the notes of the shipped rules beside them."""
    if "noted" in parts:
        return dict(parts)
    current = {name: value for name, value in parts.items() if name not in _EARLIER_NOTES}
    notes = {note: parts[name] for name, note in _EARLIER_NOTES.items()}
    contested = torch.zeros(len(SIZE_NAMES))
    contested[0] = notes["contested"]  # its size is not known; the sum over sizes is
    return {**current, "noted": {**notes, "contested": contested}}


_EARLIER_NOTES = {"num_rescued": "rescued", "num_contested": "contested", "num_cut_images": "cut"}


def _sum_over_ranks(stats: MatchStatistics, trainer: pl.Trainer) -> MatchStatistics:
    parts: list[Tensor] = []

    def collect(part: Tensor) -> Tensor:
        parts.append(part)
        return part

    stats.map(collect)
    flat = torch.cat([part.reshape(-1) for part in parts])
    pieces = iter(trainer.strategy.reduce(flat, reduce_op="sum").split([part.numel() for part in parts]))
    return stats.map(lambda part: next(pieces).view(part.shape))
