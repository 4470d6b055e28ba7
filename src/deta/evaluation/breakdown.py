"""Average precision taken apart: by category, by object size, along the recall."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.engines import Curves
from deta.evaluation.ground_truth import GroundTruth
from deta.evaluation.precision import RECALLS
from deta.structures import LARGE_AREA, SIZE_NAMES, SMALL_AREA

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
AREA_NAMES = ("all", *SIZE_NAMES)
"""Order of the size axis of ``Curves``."""
_IOU_50, _IOU_75 = 0, 5


@dataclass(frozen=True)
class Part:
    """Numbers of a part of the objects, in 0..1; NaN where there is no object.

    Attributes:
        name: Of the category or of the object size.
        num_objects: Crowds left out.
        ap: Mean over IoU 0.50 to 0.95.
        ap50: At IoU 0.50.
        ap75: At IoU 0.75.
        ar: Average recall with the largest number of detections.
        ap_by_size: AP of small, medium and large objects; for an object size of that size alone.
    """

    name: str
    num_objects: int
    ap: float
    ap50: float
    ap75: float
    ar: float
    ap_by_size: tuple[float, float, float]

    def row(self) -> dict[str, object]:
        """The numbers by short names, None where there is none."""
        sizes = {f"AP_{name}": value for name, value in zip(SIZE_NAMES, self.ap_by_size, strict=True)}
        values = {"AP": self.ap, "AP50": self.ap50, "AP75": self.ap75, "AR": self.ar, **sizes}
        return {"name": self.name, "objects": self.num_objects, **{key: _or_none(x) for key, x in values.items()}}


def by_category(curves: Curves, ground_truth: GroundTruth) -> list[Part]:
    """One part per category, in the order of the ground truth."""
    return [
        _part(name, ground_truth.num_objects(identity), curves.precision[:, :, [k]], curves.recall[:, [k]], area=0)
        for k, (identity, name) in enumerate(zip(ground_truth.category_ids, ground_truth.category_names, strict=True))
    ]


def by_size(curves: Curves, ground_truth: GroundTruth) -> list[Part]:
    """All objects, then small, medium and large ones."""
    areas = ground_truth.areas[~ground_truth.is_crowd]
    limits = (0.0, SMALL_AREA, LARGE_AREA, math.inf)
    counts = [len(areas)] + [int(((areas >= limits[k]) & (areas < limits[k + 1])).sum()) for k in range(3)]
    return [
        _part(name, counts[area], curves.precision, curves.recall, area=area) for area, name in enumerate(AREA_NAMES)
    ]


def precision_by_iou(curves: Curves) -> dict[float, NDArray[np.float64]]:
    """``[101]`` precision over ``RECALLS``, mean over categories with an object, by IoU threshold."""
    return {iou: _mean_curve(curves.precision[k, :, :, 0, -1]) for k, iou in enumerate(IOU_THRESHOLDS)}


def precision_by_size(curves: Curves) -> dict[str, NDArray[np.float64]]:
    """``[101]`` precision at IoU 0.50 over ``RECALLS``, mean over categories with an object, by object size."""
    return {name: _mean_curve(curves.precision[_IOU_50, :, :, area, -1]) for area, name in enumerate(AREA_NAMES)}


def recall_rows(curves: Curves, ground_truth: GroundTruth) -> list[dict[str, object]]:
    """Rows of precision at IoU 0.50 for every category with an object and every recall."""
    rows: list[dict[str, object]] = []
    for k, category in enumerate(ground_truth.categories()):
        curve = curves.precision[_IOU_50, :, k, 0, -1]
        if curve.min() > -1:
            rows += [
                {**category, "recall": round(float(recall), 2), "precision": float(precision)}
                for recall, precision in zip(RECALLS, curve, strict=True)
            ]
    return rows


def _part(
    name: str, num_objects: int, precision: NDArray[np.float64], recall: NDArray[np.float64], *, area: int
) -> Part:
    chosen, sizes = precision[..., area, -1], range(1, len(AREA_NAMES))
    small, medium, large = (mean_defined(precision[..., k, -1]) if area in (0, k) else math.nan for k in sizes)
    return Part(
        name=name,
        num_objects=num_objects,
        ap=mean_defined(chosen),
        ap50=mean_defined(chosen[_IOU_50]),
        ap75=mean_defined(chosen[_IOU_75]),
        ar=mean_defined(recall[..., area, -1]),
        ap_by_size=(small, medium, large),
    )


def mean_defined(values: NDArray[np.float64]) -> float:
    """Mean without the entries -1, by which engines say that there is no object; NaN if there is no other."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else math.nan


def _mean_curve(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[101]`` of ``[101, K]``; NaN without a category that has an object."""
    defined = precision[:, precision.min(axis=0) > -1]
    if not defined.shape[1]:
        return np.full(len(RECALLS), math.nan)
    mean: NDArray[np.float64] = defined.mean(axis=1)
    return mean


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
