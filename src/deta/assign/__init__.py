"""Label assignment: which candidate box answers for which object."""

from deta.assign.base import Assigner
from deta.assign.hungarian import HungarianAssigner
from deta.assign.ignored import ignore_covered
from deta.assign.iou import IoUAssigner
from deta.assign.jobs import Job, assign_all
from deta.assign.release import ReleaseAssigner

__all__ = [
    "Assigner",
    "HungarianAssigner",
    "IoUAssigner",
    "Job",
    "ReleaseAssigner",
    "assign_all",
    "ignore_covered",
]
