"""The folder of an evaluation: numbers, detections and matches, so that nothing later needs the model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deta.engine.evaluation.matching import ImageMatches
from deta.engine.evaluation.metric import CocoEvaluator
from deta.engine.evaluation.result import CocoResult

EVALUATIONS = "evaluations"
"""In a run directory: one folder for each selection of detections, of the final weights."""
METRICS = "metrics.json"


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation as it lies on disk.

    Attributes:
        folder: Where.
        metrics: COCO's twelve numbers by their short names, in 0..1; NaN where one is not defined.
    """

    folder: Path
    metrics: Mapping[str, float]

    def matches(self) -> ImageMatches:
        """What was found in each image."""
        return ImageMatches.load(self.folder / "matches.npz")


def write_evaluation(folder: Path, evaluator: CocoEvaluator, result: CocoResult) -> None:
    """Write ``predictions.json`` (COCO's result file), ``matches.npz`` and, last of all, ``metrics.json``.

    Args:
        folder: Made if need be.
        evaluator: After its ``compute``, on the first rank.
        result: Of that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).unlink(missing_ok=True)
    (folder / "predictions.json").write_text(json.dumps(evaluator.records()))
    evaluator.matches().save(folder / "matches.npz")
    unfinished = folder / f"{METRICS}.unfinished"
    unfinished.write_text(json.dumps(result.metrics(), indent=2) + "\n")
    unfinished.replace(folder / METRICS)


def read_evaluation(folder: Path) -> StoredEvaluation | None:
    """The evaluation in a folder, None if there is none or it was not finished."""
    path = folder / METRICS
    return StoredEvaluation(folder, json.loads(path.read_text())) if path.is_file() else None
