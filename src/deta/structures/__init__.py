"""Frozen dataclasses that cross module borders."""

from deta.structures.base import TensorStruct
from deta.structures.batch import Batch
from deta.structures.detections import Detections
from deta.structures.features import Features
from deta.structures.losses import Losses, StageMatches
from deta.structures.matches import BACKGROUND, IGNORED, ExtraPairs, Matches, MatchStatistics
from deta.structures.prediction import DetectionOutput, Prediction, StageKey, of_class
from deta.structures.score import QualityScore, Score, SigmoidScore, SoftmaxScore
from deta.structures.targets import LARGE_AREA, SIZE_NAMES, SMALL_AREA, FederatedLabels, Targets

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "LARGE_AREA",
    "SIZE_NAMES",
    "SMALL_AREA",
    "Batch",
    "DetectionOutput",
    "Detections",
    "ExtraPairs",
    "Features",
    "FederatedLabels",
    "Losses",
    "MatchStatistics",
    "Matches",
    "Prediction",
    "QualityScore",
    "Score",
    "SigmoidScore",
    "SoftmaxScore",
    "StageKey",
    "StageMatches",
    "Targets",
    "TensorStruct",
    "of_class",
]
