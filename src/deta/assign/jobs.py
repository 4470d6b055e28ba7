"""All assignments of a training step together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deta.assign.base import Assigner
from deta.assign.hungarian import HungarianAssigner, solve
from deta.structures import Candidates, Matches, Targets


@dataclass(frozen=True)
class Job:
    """One assignment to make."""

    assigner: Assigner
    candidates: Candidates
    targets: Targets


def assign_all(jobs: Sequence[Job], generator: torch.Generator | None = None) -> list[Matches]:
    """Make every assignment; all that are solved on the host share one transfer from the device.

    Args:
        jobs: Any number of assignments, in any mixture of strategies.
        generator: Handed to every assigner, in the order of the jobs.

    Returns:
        The matches in the order of the jobs.
    """
    pending = [
        (job.assigner.cost(job.candidates, job.targets), job.targets)
        for job in jobs
        if isinstance(job.assigner, HungarianAssigner)
    ]
    solved = iter(solve(*zip(*pending, strict=True)) if pending else ())
    return [
        job.assigner.matches(next(solved), job.candidates, job.targets)
        if isinstance(job.assigner, HungarianAssigner)
        else job.assigner(job.candidates, job.targets, generator)
        for job in jobs
    ]
