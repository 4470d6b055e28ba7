"""What happens around the training loop."""

from deta.training.callbacks.assignment import AssignmentStatistics
from deta.training.callbacks.averaging import WeightAveraging
from deta.training.callbacks.best import BestCheckpoint
from deta.training.callbacks.class_figures import ClassFigures
from deta.training.callbacks.class_table import ClassTable
from deta.training.callbacks.data_wait import DataWait
from deta.training.callbacks.early_stopping import EarlyStopping
from deta.training.callbacks.instability import AssignmentInstability
from deta.training.callbacks.length import TrainingLength
from deta.training.callbacks.model_table import ModelTable
from deta.training.callbacks.non_finite import NonFiniteGuard, NonFiniteLossError
from deta.training.callbacks.pictures import PredictionPictures
from deta.training.callbacks.progress import TrainingProgress
from deta.training.callbacks.raw_predictions import RawPredictionWriter
from deta.training.callbacks.resume import ResumeCheckpoint
from deta.training.callbacks.speed import Speed
from deta.training.callbacks.validation_line import ValidationLine

__all__ = [
    "AssignmentInstability",
    "AssignmentStatistics",
    "BestCheckpoint",
    "ClassFigures",
    "ClassTable",
    "DataWait",
    "EarlyStopping",
    "ModelTable",
    "NonFiniteGuard",
    "NonFiniteLossError",
    "PredictionPictures",
    "RawPredictionWriter",
    "ResumeCheckpoint",
    "Speed",
    "TrainingLength",
    "TrainingProgress",
    "ValidationLine",
    "WeightAveraging",
]
