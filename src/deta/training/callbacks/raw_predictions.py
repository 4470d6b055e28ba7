"""Keeping what the network says before a selection is made of it."""

from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl

from deta.evaluation.gather import gather_to_first_rank
from deta.evaluation.raw import RawPredictions
from deta.models.postprocess import ScoredSelection
from deta.structures import Batch
from deta.training.module import DetectionModule
from deta.utils.checks import require_int


class RawPredictionWriter(pl.Callback):
    """Writes the last layer's predictions of every validation image to one file.

    Args:
        path: The ``.npz`` file, replaced at every validation; its folder is made if need be.
        category_ids: Category of every class of the model, None for none.
        max_pairs: Most (query, class) pairs of an image, the best; None keeps all.
    """

    def __init__(self, *, path: Path, category_ids: Sequence[int | None], max_pairs: int | None = 1000) -> None:
        self._path = path
        self._category_ids = tuple(category_ids)
        self._max_pairs = None if max_pairs is None else require_int("raw_pairs", max_pairs, low=1)
        self._parts: list[RawPredictions] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last validation."""
        self._parts = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the best pairs of the batch on the host."""
        assert isinstance(pl_module, DetectionModule)
        assert pl_module.last is not None
        selection = pl_module.postprocess
        part = RawPredictions.from_prediction(
            pl_module.last.output.final,
            batch.original_sizes,
            batch.image_ids,
            category_ids=self._category_ids,
            max_pairs=self._max_pairs,
            score=selection.score if isinstance(selection, ScoredSelection) else None,
        )
        self._parts.append(part)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the images of all ranks from the first."""
        parts = [part for rank in gather_to_first_rank(self._parts) for part in rank]
        if trainer.is_global_zero and parts and not trainer.sanity_checking:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            RawPredictions.concatenate(parts).save(self._path)
