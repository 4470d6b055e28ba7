"""What happens around the training loop."""

from deta.engine.callbacks.assignment import AssignmentStatistics
from deta.engine.callbacks.averaging import WeightAveraging
from deta.engine.callbacks.best import BestCheckpoint
from deta.engine.callbacks.class_table import ClassTable
from deta.engine.callbacks.data_wait import DataWait
from deta.engine.callbacks.instability import AssignmentInstability
from deta.engine.callbacks.non_finite import NonFiniteGuard, NonFiniteLossError
from deta.engine.callbacks.pictures import PredictionPictures
from deta.engine.callbacks.raw_predictions import RawPredictionWriter
from deta.engine.callbacks.resume import ResumeCheckpoint

__all__ = [
    "AssignmentInstability",
    "AssignmentStatistics",
    "BestCheckpoint",
    "ClassTable",
    "DataWait",
    "NonFiniteGuard",
    "NonFiniteLossError",
    "PredictionPictures",
    "RawPredictionWriter",
    "ResumeCheckpoint",
    "WeightAveraging",
]
