"""``deta eval``: evaluate a checkpoint on a data set, or stored predictions."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf

from deta.commands.build import (
    Factory,
    make,
    make_evaluator,
    make_postprocess,
    plain,
    restore_detector,
    trust_in,
)
from deta.commands.console import reports_errors
from deta.commands.datasets import require_data
from deta.commands.eval_stored import evaluate_stored, write_note
from deta.commands.published import open_checkpoint, places_of
from deta.commands.reach import far_settings
from deta.commands.stored import build, section
from deta.data.categories import Categories
from deta.data.datamodule import CocoDataModule
from deta.evaluation import write_evaluation
from deta.evaluation.class_charts import write_class_curves
from deta.training.callbacks import DataWait, PredictionPictures, RawPredictionWriter
from deta.training.callbacks.data_wait import VAL_KEY
from deta.training.checkpoint import Checkpoint, make_metadata
from deta.training.module import DetectionModule
from deta.training.processes import choose_environment
from deta.utils.checks import require_bool


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print the numbers of the evaluator and write ``metrics.json``, ``predictions.json`` and pictures.

    Evaluations by COCO's rules also write ``matches.npz``.
    """
    if cfg.from_file is not None:
        if not OmegaConf.is_missing(cfg, "ckpt"):
            raise ValueError("--from evaluates stored predictions without a model: give either --from or ckpt")
        evaluate_stored(cfg)
        return
    if cfg.nms_thresholds is not None or cfg.top_k is not None:
        raise ValueError("nms_thresholds and top_k sweep stored raw predictions: give --from raw_predictions.npz")
    require_data(cfg, ["val"])
    checkpoint = open_checkpoint(cfg.ckpt, places_of(cfg))
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
        write_evaluation(folder, module.evaluator, module.result)
        write_note(folder, datamodule.val_annotations, layout=datamodule.layout)
        write_class_curves(folder, *module.evaluator.latest(), max_detections=module.result.max_detections)
        print(f"\n{module.result.table()}\n\n{module.result.class_table()}\n")
        wait = float(trainer.callback_metrics[VAL_KEY])
        print(f"{wait:.1%} of the time was spent waiting for data; data.num_workers={datamodule.num_workers}")
        print(f"Evaluated {checkpoint.path} on {datamodule.val_annotations}; results lie in {folder.resolve()}")


def _evaluator(cfg: DictConfig, checkpoint: Checkpoint) -> Factory:
    """The evaluator asked for, or that of the training with the values that are not null put in."""
    evaluator: Factory = _stored_unless_chosen(cfg, checkpoint, "evaluator", "evaluator", "evaluator=coco")()
    return evaluator


def _trainer(cfg: DictConfig, checkpoint: Checkpoint, folder: Path) -> pl.Trainer:
    options = checkpoint.config.get("trainer")
    stored: Any = options.get("precision", "32-true") if isinstance(options, Mapping) else "32-true"
    callbacks: list[pl.Callback] = [
        PredictionPictures(folder=folder / "pictures", num_images=cfg.num_pictures, min_score=cfg.min_score)
    ]
    if require_bool("save_raw", cfg.save_raw):
        raw = folder / "raw_predictions.npz"
        callbacks.append(RawPredictionWriter(path=raw, category_ids=checkpoint.category_ids, max_pairs=cfg.raw_pairs))
    return pl.Trainer(
        accelerator=cfg.accelerator,
        devices=cfg.devices,
        precision=cfg.precision or stored,
        logger=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=[*callbacks, DataWait()],
        plugins=[choose_environment(devices=cfg.devices, num_nodes=1)],
    )


def _datamodule(cfg: DictConfig, checkpoint: Checkpoint) -> CocoDataModule:
    """The data set asked for, or that of the training with the values that are not null put in."""
    make_data = _stored_unless_chosen(cfg, checkpoint, "data", "data set", "data=coco data.root=...")
    datamodule: CocoDataModule = make_data(categories=_categories(checkpoint))
    datamodule.prepare_data()
    datamodule.setup("validate")
    return datamodule


def _stored_unless_chosen(cfg: DictConfig, checkpoint: Checkpoint, group: str, what: str, example: str) -> Factory:
    """Makes a group of the command line, or without a choice there that of the training, with given values in place."""
    config: dict[str, Any] = plain(cfg[group])
    if "_target_" in config:
        return partial(make, config)
    stored = section(checkpoint, group)
    if not isinstance(stored, dict) or "_target_" not in stored:
        raise ValueError(f"{checkpoint.path} names no {what}: choose one, such as {example}")
    given = {name: value for name, value in config.items() if value is not None}
    foreign = sorted(given.keys() - stored.keys())
    if foreign:
        raise ValueError(
            f"{group}.{foreign[0]} is no value of the {what} that {checkpoint.path} was trained with, "
            f"{stored['_target_']}: choose another, such as {example}"
        )
    own = {name: value for name, value in _caches(cfg).items() if name in stored} | given
    trust = trust_in(checkpoint, cfg.trusted)
    trust = replace(trust, names=(*trust.names, *far_settings(own, group)))
    return partial(build, {**stored, **own}, group, trust)


def _caches(cfg: DictConfig) -> dict[str, str]:
    """Folders that are written to, in place of those that a file names."""
    return {"cache": cfg.paths.cache, "shard_cache": f"{cfg.paths.cache}/shards"}


def _categories(checkpoint: Checkpoint) -> Categories | None:
    """The list that the data set must have; None if class slots are unused and the ids alone must fit."""
    ids = tuple(identity for identity in checkpoint.category_ids if identity is not None)
    if len(ids) < len(checkpoint.category_ids):
        return None
    return Categories(ids=ids, names=checkpoint.category_names)
