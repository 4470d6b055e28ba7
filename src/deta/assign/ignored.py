"""Areas without annotation: what lies inside them is neither object nor background."""

from dataclasses import replace

import torch
from torchvision.ops import box_convert

from deta.ops.iou import pairwise_coverage
from deta.structures import BACKGROUND, IGNORED, Candidates, Matches, Targets


@torch.no_grad()
def ignore_covered(matches: Matches, candidates: Candidates, targets: Targets, min_coverage: float) -> Matches:
    """Turn background candidates inside an ignored area (a crowd) into ``IGNORED``.

    Args:
        matches: Any assignment of the candidates.
        candidates: Their reference boxes are compared.
        targets: Holds the ignored areas.
        min_coverage: Share of a reference box that must lie inside one area, 0..1.

    Returns:
        The assignment with its statistics brought up to date; the same object if no image has such an area.
    """
    if targets.is_ignore.shape[1] == 0:
        return matches
    areas = box_convert(targets.ignore_boxes.float(), "cxcywh", "xyxy")
    references = box_convert(candidates.references.float(), "cxcywh", "xyxy")
    coverage = pairwise_coverage(references, areas).masked_fill(~targets.is_ignore[:, None, :], -1.0)
    is_ignored = (matches.target == BACKGROUND) & candidates.is_valid & (coverage.amax(-1) >= min_coverage)
    target = torch.where(is_ignored, IGNORED, matches.target)
    stats = replace(matches.stats, num_ignored=(target == IGNORED).sum().float())
    return replace(matches, target=target, stats=stats)
