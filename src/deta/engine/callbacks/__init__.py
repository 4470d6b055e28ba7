"""What happens around the training loop."""

from deta.engine.callbacks.assignment import AssignmentStatistics
from deta.engine.callbacks.averaging import WeightAveraging
from deta.engine.callbacks.data_wait import DataWait
from deta.engine.callbacks.non_finite import NonFiniteGuard, NonFiniteLossError
from deta.engine.callbacks.pictures import PredictionPictures
from deta.engine.callbacks.resume import ResumeCheckpoint

__all__ = [
    "AssignmentStatistics",
    "DataWait",
    "NonFiniteGuard",
    "NonFiniteLossError",
    "PredictionPictures",
    "ResumeCheckpoint",
    "WeightAveraging",
]
