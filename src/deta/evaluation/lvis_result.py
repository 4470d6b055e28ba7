"""The numbers of an evaluation by the rules of LVIS."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from deta.data.coco_json import FREQUENCIES
from deta.evaluation.engines import Curves
from deta.evaluation.ground_truth import GroundTruth
from deta.evaluation.result import ALL, LARGE, LAST, MEDIUM, SMALL, DetectionResult, common_numbers, mean


@dataclass(frozen=True, kw_only=True)
class LvisResult(DetectionResult):
    """LVIS's thirteen numbers, each in 0..1 and NaN where the images hold no such object.

    Attributes:
        ap_rare: Of categories that the data set calls rare (in at most 10 training images).
        ap_common: Of common ones (in at most 100).
        ap_frequent: Of frequent ones (in more).
        ar: Average recall with ``max_detections`` per image.
        ar_small: The same for small objects.
        ar_medium: For medium objects.
        ar_large: For large objects.
    """

    ap_rare: float
    ap_common: float
    ap_frequent: float
    ar: float
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
        precision, recall = curves.precision[..., ALL, LAST], curves.recall[..., LAST]
        groups = np.array(ground_truth.frequencies)
        rare, common, frequent = (mean(precision[:, :, groups == name]) for name in FREQUENCIES)
        return cls(
            **common_numbers(curves, ground_truth),
            ap_rare=rare,
            ap_common=common,
            ap_frequent=frequent,
            ar=mean(recall[..., ALL]),
            ar_small=mean(recall[..., SMALL]),
            ar_medium=mean(recall[..., MEDIUM]),
            ar_large=mean(recall[..., LARGE]),
            num_detections=num_detections,
            num_unmapped=num_unmapped,
            num_repeats=num_repeats,
            max_detections=max_detections,
        )

    def metrics(self) -> dict[str, float]:
        """The thirteen numbers by LVIS's short names."""
        return {
            **self.precisions(),
            "APr": self.ap_rare,
            "APc": self.ap_common,
            "APf": self.ap_frequent,
            f"AR{self.max_detections}": self.ar,
            "ARs": self.ar_small,
            "ARm": self.ar_medium,
            "ARl": self.ar_large,
        }
