"""The folder of an evaluation: numbers, detections and matches, so that nothing later needs the model."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deta.evaluation.matching import ImageMatches
from deta.evaluation.metric import CocoEvaluator, DetectionEvaluator
from deta.evaluation.result import DetectionResult
from deta.utils.files import read_json, write_json, write_text

EVALUATIONS = "evaluations"
"""In a run directory: one folder for each selection of detections, of the final weights."""
METRICS, _MATCHES = "metrics.json", "matches.npz"


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation as it lies on disk.

    Attributes:
        folder: Where.
        metrics: Numbers of the evaluator by their short names, in 0..1; NaN where one is not defined.
    """

    folder: Path
    metrics: Mapping[str, float]

    @property
    def has_matches(self) -> bool:
        """Whether it was made by COCO's rules, and says what was found in each image."""
        return (self.folder / _MATCHES).is_file()

    def matches(self) -> ImageMatches:
        """What was found in each image.

        Raises:
            FileNotFoundError: It has no matches.
        """
        return ImageMatches.load(self.folder / _MATCHES)


def write_evaluation(folder: Path, evaluator: DetectionEvaluator[Any], result: DetectionResult) -> None:
    """Write ``predictions.json`` (COCO's result file), ``matches.npz`` and, last of all, ``metrics.json``.

    Matches by image are those of COCO's rules: for an evaluator of other rules there is no such file.

    Args:
        folder: Made if need be.
        evaluator: After its ``compute``, on the first rank.
        result: Of that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).unlink(missing_ok=True)
    write_text(folder / "predictions.json", json.dumps(evaluator.records(), allow_nan=False))
    if isinstance(evaluator, CocoEvaluator):
        evaluator.matches().save(folder / _MATCHES)
    else:
        (folder / _MATCHES).unlink(missing_ok=True)
    write_json(folder / METRICS, result.metrics())


def read_evaluation(folder: Path) -> StoredEvaluation | None:
    """The evaluation in a folder, None if there is none or it was not finished.

    Raises:
        ValueError: It is damaged.
    """
    path = folder / METRICS
    if not path.is_file():
        return None
    try:
        metrics = read_json(path, dict[str, float | None])
    except ValueError as error:
        raise ValueError(f"{error}: evaluate again") from error
    return StoredEvaluation(folder, {name: math.nan if value is None else value for name, value in metrics.items()})
