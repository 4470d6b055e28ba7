"""All that these scripts know of the code that they run, which may be that of another checkout.

Where a name has moved, this file is what changes; it has to serve both sides, the recorded one and the present one.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.utilities.types import STEP_OUTPUT
from omegaconf import DictConfig, open_dict
from torch import Tensor

Uniform = Callable[[Sequence[int], Callable[[], Tensor]], Tensor]
"""From the shape of a draw, and what draws it, to the numbers that the rule gets."""


def compose_training(words: Sequence[str], folder: Path) -> DictConfig:
    """Configuration of a training without callbacks and loggers."""
    from deta.commands.conf import config_dir
    from deta.commands.naming import register_resolvers

    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [*words, f"run_dir={folder}", "name=reference"])
    with open_dict(cfg):
        cfg.callbacks, cfg.logger = {}, {}
    return cfg


def make_training(
    cfg: DictConfig, *callbacks: pl.Callback
) -> tuple[pl.Trainer, pl.LightningModule, pl.LightningDataModule]:
    """Trainer, module and data of a configuration."""
    from deta.commands.build import make_module, make_part
    from deta.commands.train import make_trainer
    from deta.data import CocoDataModule

    datamodule = make_part(cfg, "data", CocoDataModule)
    return make_trainer(cfg, *callbacks), make_module(cfg, datamodule), datamodule


def load_initial(module: pl.LightningModule, path: Path) -> None:
    """Load a checkpoint as ``weights=`` does."""
    from deta.commands.build import start_from
    from deta.engine.checkpoint import read_checkpoint

    detector = module.detector
    assert isinstance(detector, torch.nn.Module)
    start_from(detector, read_checkpoint(path))


def batch_digest(batch: Any) -> str:  # noqa: ANN401 - a batch of either side
    """A name of pictures, padding and objects of a batch."""
    targets = batch.targets
    tensors = (batch.images, batch.is_padding, targets.boxes, targets.labels, targets.is_object)
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def uniform_draws(replace: Uniform) -> Iterator[None]:
    """Until the end of the block every uniform draw of an assignment rule goes through ``replace``."""
    from deta.assign import sampling

    class Torch:
        """PyTorch as that module sees it."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever PyTorch has
            return getattr(torch, name)

        def rand(self, shape: Sequence[int], **options: Any) -> Tensor:  # noqa: ANN401 - handed on
            return replace(tuple(shape), lambda: torch.rand(shape, **options))

    with mock.patch.object(sampling, "torch", Torch()):
        yield


class Noise(pl.Callback):
    """Changes every gradient by a random part of itself.

    Args:
        size: Standard deviation of the part.
        seed: Of the noise.
    """

    def __init__(self, size: float, seed: int) -> None:
        self._size = size
        self._generator = torch.Generator().manual_seed(seed)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before anything clips or averages."""
        for parameter in pl_module.parameters():
            if parameter.grad is not None:
                noise = torch.randn(parameter.grad.shape, generator=self._generator)
                parameter.grad.mul_(1 + self._size * noise)


class Watch(pl.Callback):
    """Keeps what a training does, step by step.

    Args:
        initial: Where the weights before the first step are saved as a checkpoint; None does not.

    Attributes:
        step: Of the batch under way, from 0.
        losses: Of every step by their logged names, the total as ``train/loss``.
        batches: Digest of every batch.
    """

    def __init__(self, initial: Path | None = None) -> None:
        self._initial = initial
        self.step = 0
        self.losses: list[dict[str, float]] = []
        self.batches: list[str] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save."""
        if self._initial is not None:
            trainer.save_checkpoint(self._initial, weights_only=True)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int  # noqa: ANN401
    ) -> None:
        """Note the batch."""
        self.step = len(self.losses)
        self.batches.append(batch_digest(batch))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Note the losses; the class error is a count, which no tolerance fits."""
        metrics = trainer.callback_metrics
        names = [name for name in metrics if name.startswith("train/") and name != "train/class_error"]
        self.losses.append({name: float(metrics[name]) for name in names})
