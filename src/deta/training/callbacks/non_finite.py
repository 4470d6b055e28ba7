"""Stops a diverged run on all ranks, with what is needed to look into it."""

import math
from pathlib import Path

import lightning.pytorch as pl
import torch

from deta.structures import Batch, Losses
from deta.training.module import DetectionModule
from deta.training.ranks import ElsewhereError
from deta.training.stage_names import term_name
from deta.training.tensor_files import save_tensors


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite."""


class _NonFiniteElsewhereError(NonFiniteLossError, ElsewhereError):
    """That of another rank did."""


class NonFiniteGuard(pl.Callback):
    """Raises ``NonFiniteLossError`` on every rank as soon as the loss of one of them is not finite.

    The decision falls between backward and optimizer step, so the weights are those that gave the loss. Ranks
    whose own loss is not finite write ``non_finite_step<N>_rank<R>.pt`` with the weights, the batch, the loss
    terms and the position; ``torch.load(..., weights_only=False)`` reads it.

    Args:
        folder: Where the dump goes, made if need be.
    """

    def __init__(self, *, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._batch: Batch | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Keep the batch for the dump."""
        self._batch = batch

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the loss of this step on all ranks."""
        assert isinstance(pl_module, DetectionModule)
        losses = _losses(pl_module)
        is_finite = bool(torch.isfinite(losses.total()))
        if trainer.strategy.reduce_boolean_decision(is_finite, all=True):
            return
        place = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
        if is_finite:
            raise _NonFiniteElsewhereError(f"the loss of another rank is not finite at {place}")
        assert self._batch is not None
        path = self._dump(trainer, pl_module, self._batch)
        bad = [name for name, value in _terms(losses).items() if not math.isfinite(value)]
        raise NonFiniteLossError(
            f"the loss is not finite at {place}: {', '.join(bad)}; image ids {self._batch.image_ids.tolist()}. "
            f"Weights and batch lie in {path}"
        )

    def _dump(self, trainer: pl.Trainer, module: DetectionModule, batch: Batch) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"non_finite_step{trainer.global_step}_rank{trainer.global_rank}.pt"
        dump = {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "rank": trainer.global_rank,
            "image_ids": batch.image_ids.tolist(),
            "terms": _terms(_losses(module)),
            "batch": batch.to("cpu"),
            "state_dict": module.state_dict(),
        }
        save_tensors(dump, path)
        return path


def _losses(module: DetectionModule) -> Losses:
    assert module.last is not None
    assert module.last.losses is not None
    return module.last.losses


def _terms(losses: Losses) -> dict[str, float]:
    return {term_name(*name): value for name, value in zip(losses.names, losses.terms().tolist(), strict=True)}
