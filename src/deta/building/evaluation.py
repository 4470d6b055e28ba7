"""Evaluating a checkpoint on a data set, for ``deta eval`` and for programs."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from deta.building.build import Factory, make_evaluator, trust_in
from deta.building.reach import far_settings
from deta.building.stored import TARGET, build, section
from deta.console.terminal import calm_lightning
from deta.data import CocoDataModule
from deta.data.categories import Categories
from deta.evaluation import DetectionEvaluator, DetectionResult
from deta.models.postprocess import Postprocess
from deta.training.callbacks import DataWait
from deta.training.callbacks.data_wait import VAL_KEY
from deta.training.checkpoint import Checkpoint, make_metadata
from deta.training.module import DetectionModule
from deta.training.processes import choose_environment

EXAMPLES = {"data": ("data set", "data=coco data.root=..."), "evaluator": ("evaluator", "evaluator=coco")}
"""Group of a configuration: what it is, and how another one is chosen."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What an evaluation gives.

    Attributes:
        result: The numbers.
        evaluator: With all detections.
        wait: Share of the time that was spent waiting for data, 0..1.
        is_global_zero: Whether this is the process that writes.
    """

    result: DetectionResult
    evaluator: DetectionEvaluator[Any]
    wait: float
    is_global_zero: bool


def evaluate(
    checkpoint: Checkpoint,
    detector: nn.Module,
    postprocess: Postprocess,
    make_metric: Factory,
    datamodule: CocoDataModule,
    *,
    folder: Path,
    accelerator: str = "auto",
    devices: Any = 1,  # noqa: ANN401 - as of Lightning
    precision: str | None = None,
    callbacks: Iterable[pl.Callback] = (),
) -> Judged:
    """Evaluate on the validation images of a data module.

    Args:
        checkpoint: Of the detector.
        detector: With its weights.
        postprocess: Selects detections.
        make_metric: Called with annotations and categories.
        datamodule: As of ``make_datamodule``.
        folder: Where callbacks write.
        accelerator: As of Lightning.
        devices: As of Lightning.
        precision: As of Lightning; None is that of the training.
        callbacks: Further ones.
    """
    options = checkpoint.config.get("trainer")
    stored: Any = options.get("precision", "32-true") if isinstance(options, Mapping) else "32-true"
    chosen: Any = precision or stored
    module = DetectionModule(
        detector=detector,
        postprocess=postprocess,
        evaluator=make_evaluator(make_metric, datamodule, checkpoint.category_ids),
        metadata=make_metadata(checkpoint.config, checkpoint.category_ids, checkpoint.category_names),
    )
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        precision=chosen,
        logger=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=[*callbacks, DataWait()],
        plugins=[choose_environment(devices=devices, num_nodes=1)],
    )
    trainer.validate(module, datamodule=datamodule, verbose=False)
    assert module.result is not None or not trainer.is_global_zero
    wait = float(trainer.callback_metrics[VAL_KEY])
    return Judged(module.result, module.evaluator, wait, trainer.is_global_zero)  # type: ignore[arg-type]  # None on other ranks, which look at nothing


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    detector: nn.Module,
    postprocess: Postprocess,
    *,
    data: Mapping[str, Any],
    trusted: Sequence[str],
    device: torch.device,
) -> Judged:
    """Evaluate as the training of a checkpoint did, in this process, without any file.

    Args:
        checkpoint: Of the detector.
        detector: With its weights.
        postprocess: Selects detections.
        data: Settings of the data set in place of those of the training.
        trusted: Classes that the stored configuration may build beside those of deta.
        device: Where.
    """
    calm_lightning()
    factory = _data_factory(checkpoint, data, trusted)
    datamodule = make_datamodule(factory, checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        return evaluate(
            checkpoint,
            detector,
            postprocess,
            stored_part(checkpoint, "evaluator", {}, trusted)(),
            datamodule,
            folder=Path(folder),
            accelerator="gpu" if device.type == "cuda" else device.type,
        )


def make_datamodule(factory: Factory, checkpoint: Checkpoint) -> CocoDataModule:
    """The data module, set up for validation with the categories of a checkpoint."""
    datamodule: CocoDataModule = factory(categories=_categories(checkpoint))
    datamodule.prepare_data()
    datamodule.setup("validate")
    return datamodule


def stored_part(
    checkpoint: Checkpoint,
    group: str,
    given: Mapping[str, Any],
    trusted: Any,  # noqa: ANN401 - what the user gave
    places: Mapping[str, str] | None = None,
) -> Factory:
    """Makes a part as in the training of a checkpoint, with other values in place.

    Args:
        checkpoint: Of the training.
        group: ``data`` or ``evaluator``.
        given: Values of the user, which need no trust.
        trusted: Classes that it may build beside those of deta.
        places: Folders that are written to, in place of those that a file names, where it has such keys.

    Raises:
        ValueError: The training has none, or not such a key.
    """
    what, example = EXAMPLES[group]
    stored = section(checkpoint, group)
    if not isinstance(stored, dict) or TARGET not in stored:
        raise ValueError(f"{checkpoint.path} names no {what}: choose one, such as {example}")
    foreign = sorted(given.keys() - stored.keys())
    if foreign:
        raise ValueError(
            f"{group}.{foreign[0]} is no value of the {what} that {checkpoint.path} was trained with, "
            f"{stored[TARGET]}: choose another, such as {example}"
        )
    own = {name: value for name, value in (places or {}).items() if name in stored} | dict(given)
    trust = trust_in(checkpoint, trusted)
    trust = replace(trust, names=(*trust.names, *far_settings(own, group)))
    return partial(build, {**stored, **own}, group, trust)


def _data_factory(checkpoint: Checkpoint, given: Mapping[str, Any], trusted: Sequence[str]) -> Factory:
    """The data set of the training with other values; files of a data set where it was trained on generated images."""
    if "val_annotations" not in given or "val_annotations" in section(checkpoint, "data"):
        return stored_part(checkpoint, "data", given, trusted)
    place = "data.val_transform"
    transform = build(section(checkpoint, place), place, trust_in(checkpoint, trusted))
    files = {"train_annotations": given["val_annotations"], "train_images": given["val_images"], "root": "."}
    return partial(CocoDataModule, train_transform=transform, val_transform=transform, **(files | dict(given)))


def _categories(checkpoint: Checkpoint) -> Categories | None:
    """The list that the data set must have; None if class slots are unused and the ids alone must fit."""
    ids = tuple(identity for identity in checkpoint.category_ids if identity is not None)
    if len(ids) < len(checkpoint.category_ids):
        return None
    return Categories(ids=ids, names=checkpoint.category_names)
