"""``deta eval``: evaluate a checkpoint on a data set, or stored predictions."""

from functools import partial
from pathlib import Path

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf

from deta.building.build import Factory, make, make_postprocess, plain, restore_detector
from deta.building.evaluation import evaluate, make_datamodule, stored_part
from deta.building.published import open_checkpoint, places_of
from deta.commands.eval_stored import evaluate_stored, write_note
from deta.console.datasets import require_data
from deta.console.terminal import reports_errors
from deta.evaluation import write_evaluation
from deta.evaluation.class_charts import write_class_curves
from deta.training.callbacks import PredictionPictures, RawPredictionWriter
from deta.training.checkpoint import Checkpoint
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
    folder = Path(cfg.run_dir)
    datamodule = make_datamodule(_unless_chosen(cfg, checkpoint, "data"), checkpoint)
    judged = evaluate(
        checkpoint,
        restore_detector(checkpoint, cfg.trusted),
        make_postprocess(cfg, checkpoint),
        # The evaluator asked for, or that of the training with the values that are not null put in.
        _unless_chosen(cfg, checkpoint, "evaluator")(),
        datamodule,
        folder=folder,
        accelerator=cfg.accelerator,
        devices=cfg.devices,
        precision=cfg.precision,
        callbacks=_callbacks(cfg, checkpoint, folder),
    )
    if judged.is_global_zero:
        write_evaluation(folder, judged.evaluator, judged.result)
        write_note(folder, datamodule.val_annotations, layout=datamodule.layout)
        write_class_curves(folder, *judged.evaluator.latest(), max_detections=judged.result.max_detections)
        print(f"\n{judged.result.table()}\n\n{judged.result.class_table()}\n")
        print(f"{judged.wait:.1%} of the time was spent waiting for data; data.num_workers={datamodule.num_workers}")
        print(f"Evaluated {checkpoint.path} on {datamodule.val_annotations}; results lie in {folder.resolve()}")


def _callbacks(cfg: DictConfig, checkpoint: Checkpoint, folder: Path) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = [
        PredictionPictures(folder=folder / "pictures", num_images=cfg.num_pictures, min_score=cfg.min_score)
    ]
    if require_bool("save_raw", cfg.save_raw):
        raw = folder / "raw_predictions.npz"
        callbacks.append(RawPredictionWriter(path=raw, category_ids=checkpoint.category_ids, max_pairs=cfg.raw_pairs))
    return callbacks


def _unless_chosen(cfg: DictConfig, checkpoint: Checkpoint, group: str) -> Factory:
    """Makes a group of the command line, or without a choice there that of the training, with given values in place."""
    config = plain(cfg[group])
    if "_target_" in config:
        return partial(make, config)
    given = {name: value for name, value in config.items() if value is not None}
    # Folders that are written to, in place of those that a file names.
    places = {"cache": cfg.paths.cache, "shard_cache": f"{cfg.paths.cache}/shards"}
    return stored_part(checkpoint, group, given, cfg.trusted, places)
