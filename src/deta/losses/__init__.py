"""From predictions and ground truth to losses."""

from deta.losses.criterion import Criterion
from deta.losses.diagnostics import cardinality_error, class_error
from deta.losses.federated import counted_scores
from deta.losses.rules import Rule
from deta.losses.terms import (
    CenternessLoss,
    CentreL1Loss,
    CrossEntropy,
    DeltaL1Loss,
    DistributionFocalLoss,
    FocalLoss,
    FocusedCrossEntropy,
    GIoULoss,
    HeatMapLoss,
    IoULoss,
    L1Loss,
    MatchedClassLoss,
    ObjectnessLoss,
    PairLoss,
    QualityFocalLoss,
    Sum,
    Term,
    WeightedGIoULoss,
)
from deta.losses.until import Until

__all__ = [
    "CenternessLoss",
    "CentreL1Loss",
    "Criterion",
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
    "Rule",
    "Sum",
    "Term",
    "Until",
    "WeightedGIoULoss",
    "cardinality_error",
    "class_error",
    "counted_scores",
]
