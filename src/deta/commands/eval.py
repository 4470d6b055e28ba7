"""``deta eval``: evaluate a checkpoint on a data set."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig

from deta.commands.build import (
    check_targets,
    make,
    make_evaluator,
    make_postprocess,
    plain,
    restore_detector,
)
from deta.commands.console import reports_errors
from deta.data.categories import Categories
from deta.data.datamodule import CocoDataModule
from deta.engine.callbacks import PredictionPictures
from deta.engine.checkpoint import Checkpoint, make_metadata, read_checkpoint
from deta.engine.module import DetectionModule


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print the numbers of the evaluator and write ``metrics.json``, ``predictions.json`` and pictures."""
    checkpoint = read_checkpoint(cfg.ckpt)
    datamodule = _datamodule(cfg, checkpoint)
    module = DetectionModule(
        detector=restore_detector(checkpoint, cfg.trusted),
        postprocess=make_postprocess(cfg, checkpoint),
        evaluator=make_evaluator(_evaluator(cfg, checkpoint), datamodule, checkpoint.category_ids),
        metadata=make_metadata(checkpoint.config, checkpoint.category_ids, checkpoint.category_names),
    )
    folder = Path(cfg.run_dir)
    trainer = _trainer(cfg, checkpoint, folder)
    trainer.validate(module, datamodule=datamodule, verbose=False)
    if trainer.is_global_zero:
        assert module.result is not None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(module.result.metrics(), indent=2) + "\n")
        (folder / "predictions.json").write_text(json.dumps(module.evaluator.records()))
        print(f"\n{module.result.table()}\n\n{module.result.class_table()}\n")
        print(f"Evaluated {checkpoint.path} on {datamodule.val_annotations}; results lie in {folder.resolve()}")


def _evaluator(cfg: DictConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """The evaluator asked for, or that of the training with the values that are not null put in."""
    return _stored_unless_chosen(cfg, checkpoint, "evaluator", "evaluator", "evaluator=coco")


def _trainer(cfg: DictConfig, checkpoint: Checkpoint, folder: Path) -> pl.Trainer:
    stored: Any = checkpoint.config.get("trainer", {}).get("precision", "32-true")
    pictures = PredictionPictures(folder=folder / "pictures", num_images=cfg.num_pictures, min_score=cfg.min_score)
    return pl.Trainer(
        accelerator=cfg.accelerator,
        devices=cfg.devices,
        precision=cfg.precision or stored,
        logger=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=[pictures],
    )


def _datamodule(cfg: DictConfig, checkpoint: Checkpoint) -> CocoDataModule:
    """The data set asked for, or that of the training with the values that are not null put in."""
    config = _stored_unless_chosen(cfg, checkpoint, "data", "data set", "data=coco data.root=...")
    datamodule: CocoDataModule = make({**config, "_partial_": True})(categories=_categories(checkpoint))
    datamodule.prepare_data()
    datamodule.setup("validate")
    return datamodule


def _stored_unless_chosen(
    cfg: DictConfig, checkpoint: Checkpoint, group: str, what: str, example: str
) -> dict[str, Any]:
    """A group of the command line, or without a choice there that of the training, with given values in place."""
    config: dict[str, Any] = plain(cfg[group])
    if "_target_" in config:
        return config
    if group not in checkpoint.config:
        raise ValueError(f"{checkpoint.path} names no {what}: choose one, such as {example}")
    stored = checkpoint.config[group]
    given = {name: value for name, value in config.items() if value is not None}
    foreign = sorted(given.keys() - stored.keys())
    if foreign:
        raise ValueError(
            f"{group}.{foreign[0]} is no value of the {what} that {checkpoint.path} was trained with, "
            f"{stored['_target_']}: choose another, such as {example}"
        )
    config = {**stored, **given}
    check_targets(config, cfg.trusted, checkpoint)
    return config


def _categories(checkpoint: Checkpoint) -> Categories | None:
    """The list that the data set must have; None if class slots are unused and the ids alone must fit."""
    ids = tuple(identity for identity in checkpoint.category_ids if identity is not None)
    if len(ids) < len(checkpoint.category_ids):
        return None
    return Categories(ids=ids, names=checkpoint.category_names)
