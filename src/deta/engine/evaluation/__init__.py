"""Detection metrics: how a run is scored, once, on all of its images."""

from deta.engine.evaluation.detections import CocoDetections, FlatDetections, to_coco_results
from deta.engine.evaluation.engines import ENGINE_NAMES
from deta.engine.evaluation.ground_truth import GroundTruth, read_ground_truth
from deta.engine.evaluation.lvis import LvisEvaluator
from deta.engine.evaluation.lvis_result import LvisResult
from deta.engine.evaluation.metric import CocoEvaluator, DetectionEvaluator
from deta.engine.evaluation.result import ClassResult, CocoResult, DetectionResult

__all__ = [
    "ENGINE_NAMES",
    "ClassResult",
    "CocoDetections",
    "CocoEvaluator",
    "CocoResult",
    "DetectionEvaluator",
    "DetectionResult",
    "FlatDetections",
    "GroundTruth",
    "LvisEvaluator",
    "LvisResult",
    "read_ground_truth",
    "to_coco_results",
]
