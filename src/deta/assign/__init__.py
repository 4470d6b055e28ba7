"""Label assignment: which candidate box answers for which object, and all that a rule of your own needs."""

from deta.assign.atss import ATSSAssigner
from deta.assign.base import Assigner, Problem, ask, assign, background, prior_iou, solve
from deta.assign.fcos import FCOSAssigner
from deta.assign.gaussian import GaussianAssigner
from deta.assign.given import GivenAssigner
from deta.assign.hungarian import HungarianAssigner
from deta.assign.ignored import ignore_covered
from deta.assign.iou import IoUAssigner
from deta.assign.max_iou import MaxIoUAssigner
from deta.assign.one_per_object import OnePerObjectAssigner
from deta.assign.release import ReleaseAssigner
from deta.assign.sampling import SampledAssigner, keep_balanced, keep_random
from deta.assign.scene import in_pixels
from deta.assign.simota import SimOTAAssigner
from deta.assign.statistics import statistics
from deta.assign.tal import TaskAlignedAssigner
from deta.assign.topk_iou import TopKIoUAssigner
from deta.ops.random import Draw
from deta.structures import BACKGROUND, IGNORED, ExtraPairs, Matches, Prediction, Targets

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "ATSSAssigner",
    "Assigner",
    "Draw",
    "ExtraPairs",
    "FCOSAssigner",
    "GaussianAssigner",
    "GivenAssigner",
    "HungarianAssigner",
    "IoUAssigner",
    "Matches",
    "MaxIoUAssigner",
    "OnePerObjectAssigner",
    "Prediction",
    "Problem",
    "ReleaseAssigner",
    "SampledAssigner",
    "SimOTAAssigner",
    "Targets",
    "TaskAlignedAssigner",
    "TopKIoUAssigner",
    "ask",
    "assign",
    "background",
    "ignore_covered",
    "in_pixels",
    "keep_balanced",
    "keep_random",
    "prior_iou",
    "solve",
    "statistics",
]
