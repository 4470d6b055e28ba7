"""Detection metrics: how a run is scored, once, on all of its images."""

from deta.engine.evaluation.detections import CocoDetections, FlatDetections, to_coco_results
from deta.engine.evaluation.engines import ENGINE_NAMES, Curves, evaluate
from deta.engine.evaluation.ground_truth import GroundTruth, read_ground_truth
from deta.engine.evaluation.metric import CocoEvaluator
from deta.engine.evaluation.result import ClassResult, CocoResult

__all__ = [
    "ENGINE_NAMES",
    "ClassResult",
    "CocoDetections",
    "CocoEvaluator",
    "CocoResult",
    "Curves",
    "FlatDetections",
    "GroundTruth",
    "evaluate",
    "read_ground_truth",
    "to_coco_results",
]
