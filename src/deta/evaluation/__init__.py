"""Detection metrics: how a run is scored, once, on all of its images."""

from deta.evaluation.detections import CocoDetections, FlatDetections, to_coco_results
from deta.evaluation.engines import ENGINE_NAMES, Curves, evaluate
from deta.evaluation.ground_truth import GroundTruth, read_ground_truth
from deta.evaluation.lvis import LvisEvaluator
from deta.evaluation.lvis_result import LvisResult
from deta.evaluation.matching import ImageMatches, match_images
from deta.evaluation.metric import CocoEvaluator, DetectionEvaluator
from deta.evaluation.resampling import average_precision
from deta.evaluation.result import ClassResult, CocoResult, DetectionResult, Scores
from deta.evaluation.rules import CocoRules, Evaluation, LvisRules, Rules
from deta.evaluation.storage import EVALUATIONS, StoredEvaluation, read_evaluation, write_evaluation

__all__ = [
    "ENGINE_NAMES",
    "EVALUATIONS",
    "ClassResult",
    "CocoDetections",
    "CocoEvaluator",
    "CocoResult",
    "CocoRules",
    "Curves",
    "DetectionEvaluator",
    "DetectionResult",
    "Evaluation",
    "FlatDetections",
    "GroundTruth",
    "ImageMatches",
    "LvisEvaluator",
    "LvisResult",
    "LvisRules",
    "Rules",
    "Scores",
    "StoredEvaluation",
    "average_precision",
    "evaluate",
    "match_images",
    "read_evaluation",
    "read_ground_truth",
    "to_coco_results",
    "write_evaluation",
]
