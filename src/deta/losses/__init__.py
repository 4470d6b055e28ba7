"""From predictions and ground truth to losses."""

from deta.losses.criterion import Criterion
from deta.losses.diagnostics import cardinality_error, class_error
from deta.losses.rules import Rule
from deta.losses.terms import CrossEntropy, DeltaL1Loss, FocalLoss, GIoULoss, L1Loss, PairLoss, Sum, Term

__all__ = [
    "Criterion",
    "CrossEntropy",
    "DeltaL1Loss",
    "FocalLoss",
    "GIoULoss",
    "L1Loss",
    "PairLoss",
    "Rule",
    "Sum",
    "Term",
    "cardinality_error",
    "class_error",
]
