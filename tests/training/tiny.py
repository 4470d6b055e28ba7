"""Data, module and trainer whose epochs take a fraction of a second."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from deta.assign import IoUAssigner
from deta.data import CocoDataModule, ResizeShortSide, ShapesDataModule
from deta.evaluation import CocoEvaluator
from deta.losses import Criterion
from deta.models.postprocess import NMS
from deta.tracking.metrics import MetricsLogger, read_metrics
from deta.training.checkpoint import make_metadata
from deta.training.module import DetectionModule
from tests.losses.criteria import QueryCriterion
from tests.models.tiny import tiny_detector

CONFIG = {"model": {"_target_": "deta.models.Detector", "body": {"hidden_dim": 32}}}
"""Stands for the configuration of the run in a checkpoint."""


def shapes(cache: Path, *, num_train: int = 4, num_val: int = 2, **changes: Any) -> ShapesDataModule:  # noqa: ANN401
    """Generated pictures with a short side of 72 pixels, two of them in a batch."""
    resize = ResizeShortSide(short_sides=[72])
    options: dict[str, Any] = {
        "train_transform": resize,
        "val_transform": resize,
        "batch_size": 2,
        "eval_batch_size": 2,
        "num_workers": 0,
    }
    return ShapesDataModule(cache=cache, num_train=num_train, num_val=num_val, **{**options, **changes})


def criterion() -> Criterion:
    """The paper's rule in both stages."""
    return QueryCriterion(layer_assigner=IoUAssigner(tau=0.6), proposal_assigner=IoUAssigner(tau=0.7, gamma=None))


def detection_module(data: CocoDataModule, *, model_seed: int = 0, **changes: Any) -> DetectionModule:  # noqa: ANN401
    """A module for the classes of ``data``, which is set up by this."""
    data.prepare_data()
    data.setup("fit")
    classes = data.categories
    options: dict[str, Any] = {
        "detector": tiny_detector(num_classes=len(classes), seed=model_seed),
        "postprocess": NMS(max_detections=20),
        "evaluator": CocoEvaluator(annotations=data.val_annotations, category_ids=classes.ids),
        "criterion": criterion(),
        "optimizer": partial(torch.optim.AdamW, weight_decay=1e-4),
        "lr": 1e-3,
        "metadata": make_metadata(CONFIG, classes.ids, classes.names),
    }
    return DetectionModule(**{**options, **changes})


def make_trainer(folder: Path, **changes: Any) -> pl.Trainer:  # noqa: ANN401
    """A quiet trainer on the CPU that logs every step to ``folder``."""
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(_is_checkpointing(callback) for callback in changes.get("callbacks", ())),
        "use_distributed_sampler": False,
        "logger": MetricsLogger(folder=folder),
        "default_root_dir": folder,
    }
    return pl.Trainer(**{**options, **changes})


def logged(folder: Path, key: str) -> list[Any]:
    """Every value of a metric in the order of logging."""
    return [row[key] for row in read_metrics(folder / "metrics.jsonl") if key in row]


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def is_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether both have the same names and bitwise the same values."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _is_checkpointing(callback: pl.Callback) -> bool:
    return isinstance(callback, pl.callbacks.Checkpoint)
