"""Loss terms and the criterion that applies an assignment."""

from deta.losses.criterion import Criterion, stage_candidates
from deta.losses.diagnostics import cardinality_error, class_error

__all__ = ["Criterion", "cardinality_error", "class_error", "stage_candidates"]
