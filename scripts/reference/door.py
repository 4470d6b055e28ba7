"""All that these scripts know of the code that they run, which may be that of another checkout.

Where a name has moved, this file is what changes; it has to serve both sides, the recorded one and the present one.
"""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

HAS_MOVED = find_spec("deta.building") is not None
"""What builds a training stood in ``deta.commands`` once."""
Uniform = Callable[[Sequence[int], Callable[[], Tensor]], Tensor]
"""From the shape of a draw, and what draws it, to the numbers that the rule gets."""


def compose_training(words: Sequence[str], folder: Path) -> DictConfig:
    """Configuration of a training without callbacks and loggers."""
    from deta.cli import config_dir

    import_module("deta.console.naming" if HAS_MOVED else "deta.commands.naming").register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [*_understood(words), f"run_dir={folder}", "name=reference"])
    with open_dict(cfg):
        cfg.callbacks, cfg.logger = {}, {}
    return cfg


def _understood(words: Sequence[str]) -> Sequence[str]:
    """Words as the code of either side writes them; they are given as the older one does."""
    try:
        from deta.runs.former_words import present_words
    except ImportError:
        return words
    return present_words(words)


def make_training(
    cfg: DictConfig, *callbacks: pl.Callback
) -> tuple[pl.Trainer, pl.LightningModule, pl.LightningDataModule]:
    """Trainer, module and data of a configuration."""
    from deta.commands.train import make_trainer
    from deta.data import CocoDataModule

    build = import_module("deta.building.build" if HAS_MOVED else "deta.commands.build")
    datamodule = build.make_part(cfg, "data", CocoDataModule)
    return make_trainer(cfg, *callbacks), build.make_module(cfg, datamodule), datamodule


def load_initial(module: pl.LightningModule, path: Path) -> None:
    """Load a checkpoint as ``weights=`` does."""
    from deta.training.checkpoint import read_checkpoint

    detector = module.detector
    assert isinstance(detector, torch.nn.Module)
    home, name = ("building.start", "load_by_size") if HAS_MOVED else ("commands.build", "start_from")
    getattr(import_module(f"deta.{home}"), name)(detector, read_checkpoint(path))


def batch_digest(batch: Any) -> str:  # noqa: ANN401 - a batch of either side
    """A name of pictures, padding and objects of a batch."""
    targets = batch.targets
    is_object = targets.is_object  # its padded width is nobody's business
    objects = (targets.boxes[is_object], targets.labels[is_object], is_object.sum(1))
    tensors = (batch.images, batch.is_padding, *objects)
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def uniform_draws(replace: Uniform) -> Iterator[None]:
    """Until the end of the block every uniform draw of an assignment rule goes through ``replace``."""
    try:
        from deta.ops.random import Draw
    except ModuleNotFoundError:
        with _uniform_draws_of_generators(replace):
            yield
        return
    uniform = Draw.uniform

    def replaced(draw: Draw, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        return replace(tuple(shape), lambda: uniform(draw, name, shape, device))

    with mock.patch.object(Draw, "uniform", replaced):
        yield


@contextmanager
def _uniform_draws_of_generators(replace: Uniform) -> Iterator[None]:
    """The same in code before there were keyed draws."""
    from deta.assign import sampling

    class Torch:
        """PyTorch as that module sees it."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever PyTorch has
            return getattr(torch, name)

        def rand(self, shape: Sequence[int], **options: Any) -> Tensor:  # noqa: ANN401 - handed on
            return replace(tuple(shape), lambda: torch.rand(shape, **options))

    with mock.patch.object(sampling, "torch", Torch()):
        yield


@contextmanager
def stopped_after(step: int) -> Iterator[None]:
    """Until the end of the block a training receives SIGTERM after this step, before it looks whether to save."""
    from deta.training.callbacks import ResumeCheckpoint

    ends = ResumeCheckpoint.on_train_batch_end

    def signalled(callback: ResumeCheckpoint, trainer: pl.Trainer, *arguments: Any) -> None:  # noqa: ANN401 - handed on
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        ends(callback, trainer, *arguments)

    with mock.patch.object(ResumeCheckpoint, "on_train_batch_end", signalled):
        yield


def metric_rows(run: Path) -> list[dict[str, Any]]:
    """All rows of ``metrics.jsonl``, without what tells the time."""
    from deta.tracking.metrics import CLOCK_KEYS, read_metrics

    rows = read_metrics(run / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in CLOCK_KEYS} for row in rows]


def make_detector(cfg: DictConfig, num_classes: int) -> nn.Module:
    """The detector of a configuration."""
    from deta.building import build

    return build.make_detector(cfg.model, num_classes)


def optimizer_groups(cfg: DictConfig, detector: nn.Module) -> list[tuple[str, float, float, list[str]]]:
    """Name, rate, weight decay and parameters in their order of each group of the optimizer."""
    from deta.training.optim import PARAMETER_NAMES, parameter_groups

    factors = {str(part): float(factor) for part, factor in cfg.optimizer.lr_factors.items()}
    groups = parameter_groups(detector.named_parameters(), lr=cfg.optimizer.lr, lr_factors=factors)
    decay = float(cfg.optimizer.make.weight_decay)
    return [(str(group["name"]), float(group["lr"]), decay, list(group[PARAMETER_NAMES])) for group in groups]


def published_state(detector: nn.Module) -> dict[str, Tensor]:
    """Its weights as the publications name them."""
    from deta.models import Detector
    from deta.models.releases import to_release

    assert isinstance(detector, Detector)
    return to_release(detector)
