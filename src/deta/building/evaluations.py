"""Evaluations of the final weights of a run under several selections of detections."""

from collections.abc import Mapping
from pathlib import Path

import lightning.pytorch as pl
from omegaconf import DictConfig

from deta.building.build import make
from deta.data.datamodule import CocoDataModule
from deta.evaluation import EVALUATIONS, read_evaluation, write_evaluation
from deta.models.postprocess import Postprocess, scored_as
from deta.training.callbacks import ResumeCheckpoint, WeightAveraging
from deta.training.module import DetectionModule
from deta.utils.checks import require_callable, require_folder_name


def make_selections(cfg: DictConfig) -> dict[str, Postprocess]:
    """The selections of detections under ``evaluations``.

    Raises:
        ValueError: One has a name that is no folder's, or is no selection.
    """
    nodes = cfg.evaluations
    if not isinstance(nodes, DictConfig):
        raise ValueError(f"evaluations must name selections, such as +postprocess@evaluations.topk=topk, got {nodes}")
    selections: dict[str, Postprocess] = {}
    for name, node in nodes.items():
        key = require_folder_name("evaluations: every name", name)
        selections[key] = make(node) if isinstance(node, DictConfig) else node
        require_callable(f"evaluations.{key}", selections[key])
    return selections


def evaluate_final_weights(
    selections: Mapping[str, Postprocess],
    folder: Path,
    trainer: pl.Trainer,
    module: DetectionModule,
    datamodule: CocoDataModule,
) -> None:
    """Write ``evaluations/<name>`` of a run directory for every selection.

    What lies there already is kept: a run that was killed in between goes on with the next.

    Args:
        selections: Selection of detections by name, by the score of the training where it has none of its own.
        folder: The run directory.
        trainer: After the training, on every rank; it loses its loggers and callbacks, whose record is complete,
            except those that average weights (what a training validates with is evaluated) and obey signals.
        module: After the training.
        datamodule: Of the training.
    """
    if selections:
        kept = [each for each in trainer.callbacks if isinstance(each, (WeightAveraging, ResumeCheckpoint))]  # type: ignore[attr-defined]  # Lightning adds it when it is made
        trainer.callbacks, trainer.loggers = kept, []  # type: ignore[attr-defined]  # as above
    for name, postprocess in selections.items():
        place = folder / EVALUATIONS / name
        if trainer.strategy.broadcast(read_evaluation(place) is not None):
            continue
        judged = DetectionModule(
            detector=module.detector,
            postprocess=scored_as(postprocess, module.postprocess),
            evaluator=module.evaluator,
            metadata={"category_names": module.class_names},
        )
        trainer.validate(judged, datamodule=datamodule, verbose=False)
        if trainer.is_global_zero:
            assert judged.result is not None
            write_evaluation(place, judged.evaluator, judged.result)
