"""The numbers of an evaluation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.engines import Curves
from deta.evaluation.ground_truth import GroundTruth
from deta.runs.table import aligned
from deta.utils.wording import points

_IOU_50, _IOU_75 = 0, 5
ALL, SMALL, MEDIUM, LARGE = range(4)
"""Object sizes on the axis of the curves."""
LAST = -1
"""The highest limit of detections."""


@dataclass(frozen=True)
class ClassResult:
    """Average precision of one category.

    Attributes:
        name: Of the category.
        id: In the annotation file.
        ap: Mean over IoU 0.50 to 0.95, in 0..1; NaN without an object.
        ap50: At IoU 0.50, in 0..1; NaN without an object.
        num_objects: In the evaluated images, crowds left out.
    """

    name: str
    id: int
    ap: float
    ap50: float
    num_objects: int


@dataclass(frozen=True)
class Scores:
    """What is told of a result at the end of a run, which may come from an earlier process.

    Attributes:
        metrics: As of ``DetectionResult``.
        table: As of ``DetectionResult``.
    """

    metrics: Mapping[str, float]
    table: str


@dataclass(frozen=True, kw_only=True)
class DetectionResult(ABC):
    """What every evaluation gives; numbers are in 0..1, and NaN where the images hold no object of that kind.

    Attributes:
        ap: Average precision, mean over IoU 0.50 to 0.95 and categories.
        ap50: At IoU 0.50.
        ap75: At IoU 0.75.
        ap_small: Of objects below 32 x 32 pixels in annotated area.
        ap_medium: Of objects between.
        ap_large: Of objects above 96 x 96 pixels.
        per_class: One entry per category of the annotation file, in ascending order of id.
        num_images: Images evaluated, each counted once.
        num_detections: Detections evaluated.
        num_unmapped: Detections left out because their class stands for no category.
        num_repeats: Images that arrived again and were left out.
        max_detections: Most detections that count: in COCO per image and category, in LVIS per image.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    per_class: tuple[ClassResult, ...]
    num_images: int
    num_detections: int
    num_unmapped: int = 0
    num_repeats: int = 0
    max_detections: int = 100

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The numbers by their usual short names, for a logger."""

    def precisions(self) -> dict[str, float]:
        """The six numbers that all evaluations share."""
        return {
            "AP": self.ap,
            "AP50": self.ap50,
            "AP75": self.ap75,
            "APs": self.ap_small,
            "APm": self.ap_medium,
            "APl": self.ap_large,
        }

    def table(self) -> str:
        """One row per number: its name and its value in points, "-" where it is not defined."""
        metrics = self.metrics()
        counts = {"images": self.num_images, "detections": self.num_detections}
        if self.num_unmapped:
            counts["left out: class without category"] = self.num_unmapped
        if self.num_repeats:
            counts["left out: repeated images"] = self.num_repeats
        names = [*metrics, *counts]
        values = [*(points(value) for value in metrics.values()), *(str(count) for count in counts.values())]
        return _aligned([[name, value] for name, value in zip(names, values, strict=True)])

    def __str__(self) -> str:
        return self.table()

    def scores(self) -> Scores:
        """What a run tells of it at its end."""
        return Scores({name: float(value) for name, value in self.metrics().items()}, self.table())

    def class_table(self) -> str:
        """One row per category: name, objects, AP and AP50; "-" for a category without an object."""
        rows = [[row.name, str(row.num_objects), points(row.ap), points(row.ap50)] for row in self.per_class]
        return _aligned([["class", "objects", "AP", "AP50"], *rows])


@dataclass(frozen=True, kw_only=True)
class CocoResult(DetectionResult):
    """COCO's twelve numbers, each in 0..1 and NaN where the images hold no object of that size.

    Attributes:
        ar_1: Average recall with one detection per image and category.
        ar_10: With 10.
        ar_100: With ``max_detections``.
        ar_small: The same for small objects.
        ar_medium: For medium objects.
        ar_large: For large objects.
    """

    ar_1: float
    ar_10: float
    ar_100: float
    ar_small: float
    ar_medium: float
    ar_large: float

    @classmethod
    def from_curves(
        cls,
        curves: Curves,
        ground_truth: GroundTruth,
        *,
        num_detections: int,
        num_unmapped: int,
        num_repeats: int,
        max_detections: int,
    ) -> Self:
        """Average an engine's curves; categories without an object take no part."""
        recall = curves.recall
        return cls(
            **common_numbers(curves, ground_truth),
            ar_1=mean(recall[..., ALL, 0]),
            ar_10=mean(recall[..., ALL, 1]),
            ar_100=mean(recall[..., ALL, LAST]),
            ar_small=mean(recall[..., SMALL, LAST]),
            ar_medium=mean(recall[..., MEDIUM, LAST]),
            ar_large=mean(recall[..., LARGE, LAST]),
            num_detections=num_detections,
            num_unmapped=num_unmapped,
            num_repeats=num_repeats,
            max_detections=max_detections,
        )

    def metrics(self) -> dict[str, float]:
        """The twelve numbers by COCO's short names."""
        return {
            **self.precisions(),
            "AR1": self.ar_1,
            "AR10": self.ar_10,
            f"AR{self.max_detections}": self.ar_100,
            "ARs": self.ar_small,
            "ARm": self.ar_medium,
            "ARl": self.ar_large,
        }


def common_numbers(curves: Curves, ground_truth: GroundTruth) -> dict[str, Any]:
    """The fields of ``DetectionResult`` that follow from curves and ground truth."""
    precision = curves.precision[..., LAST]
    categories = zip(ground_truth.category_ids, ground_truth.category_names, strict=True)
    return {
        "ap": mean(precision[..., ALL]),
        "ap50": mean(precision[_IOU_50, ..., ALL]),
        "ap75": mean(precision[_IOU_75, ..., ALL]),
        "ap_small": mean(precision[..., SMALL]),
        "ap_medium": mean(precision[..., MEDIUM]),
        "ap_large": mean(precision[..., LARGE]),
        "per_class": tuple(
            ClassResult(
                name=name,
                id=identity,
                ap=mean(precision[:, :, index, ALL]),
                ap50=mean(precision[_IOU_50, :, index, ALL]),
                num_objects=ground_truth.num_objects(identity),
            )
            for index, (identity, name) in enumerate(categories)
        ),
        "num_images": len(ground_truth.image_ids),
    }


def mean(values: NDArray[np.float64]) -> float:
    """Mean of what is defined, that is, not -1; NaN if nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else math.nan


def _aligned(rows: list[list[str]]) -> str:
    """The first column to the left, the others to the right."""
    return "\n".join(aligned([[*row, ""] for row in rows], range(1, len(rows[0])), None))
