"""Loss terms: what a rule measures of its classes and of its boxes."""

from deta.losses.terms.base import Sum, Term
from deta.losses.terms.boxes import DeltaL1Loss, GIoULoss, L1Loss, PairLoss
from deta.losses.terms.classes import CrossEntropy, FocalLoss

__all__ = ["CrossEntropy", "DeltaL1Loss", "FocalLoss", "GIoULoss", "L1Loss", "PairLoss", "Sum", "Term"]
