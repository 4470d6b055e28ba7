"""Frozen dataclasses that cross module borders."""

from deta.structures.base import TensorStruct
from deta.structures.batch import Batch
from deta.structures.detections import Detections
from deta.structures.losses import Losses
from deta.structures.matches import BACKGROUND, IGNORED, Candidates, ExtraPairs, Matches, MatchStatistics
from deta.structures.predictions import DetectionOutput, GroupSlice, LayerPrediction, Proposals
from deta.structures.targets import LARGE_AREA, SIZE_NAMES, SMALL_AREA, FederatedLabels, Targets

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "LARGE_AREA",
    "SIZE_NAMES",
    "SMALL_AREA",
    "Batch",
    "Candidates",
    "DetectionOutput",
    "Detections",
    "ExtraPairs",
    "FederatedLabels",
    "GroupSlice",
    "LayerPrediction",
    "Losses",
    "MatchStatistics",
    "Matches",
    "Proposals",
    "Targets",
    "TensorStruct",
]
