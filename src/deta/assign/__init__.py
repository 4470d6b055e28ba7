"""Label assignment: which candidate box answers for which object, and all that a rule of your own needs."""

from deta.assign.base import Assigner, Problem, ask, assign, background, prior_iou, solve
from deta.assign.given import GivenAssigner
from deta.assign.hungarian import HungarianAssigner
from deta.assign.ignored import ignore_covered
from deta.assign.iou import IoUAssigner
from deta.assign.release import ReleaseAssigner
from deta.assign.sampling import keep_random
from deta.assign.statistics import statistics
from deta.assign.topk_iou import TopKIoUAssigner
from deta.ops.random import Draw
from deta.structures import BACKGROUND, IGNORED, Matches, Prediction, Targets

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "Assigner",
    "Draw",
    "GivenAssigner",
    "HungarianAssigner",
    "IoUAssigner",
    "Matches",
    "Prediction",
    "Problem",
    "ReleaseAssigner",
    "Targets",
    "TopKIoUAssigner",
    "ask",
    "assign",
    "background",
    "ignore_covered",
    "keep_random",
    "prior_iou",
    "solve",
    "statistics",
]
