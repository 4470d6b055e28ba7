"""Loss terms: what a rule measures of its classes and of its boxes."""

from deta.losses.terms.base import Sum, Term
from deta.losses.terms.boxes import DeltaL1Loss, GIoULoss, IoULoss, L1Loss, PairLoss
from deta.losses.terms.classes import CrossEntropy, FocalLoss, FocusedCrossEntropy
from deta.losses.terms.heat_map import CentreL1Loss, HeatMapLoss
from deta.losses.terms.quality import (
    CenternessLoss,
    DistributionFocalLoss,
    MatchedClassLoss,
    ObjectnessLoss,
    QualityFocalLoss,
    WeightedGIoULoss,
)

__all__ = [
    "CenternessLoss",
    "CentreL1Loss",
    "CrossEntropy",
    "DeltaL1Loss",
    "DistributionFocalLoss",
    "FocalLoss",
    "FocusedCrossEntropy",
    "GIoULoss",
    "HeatMapLoss",
    "IoULoss",
    "L1Loss",
    "MatchedClassLoss",
    "ObjectnessLoss",
    "PairLoss",
    "QualityFocalLoss",
    "Sum",
    "Term",
    "WeightedGIoULoss",
]
