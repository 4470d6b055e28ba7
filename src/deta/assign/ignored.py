"""Areas without annotation: what lies inside them is neither object nor background."""

from dataclasses import replace

import torch

from deta.ops.boxes import to_corners
from deta.ops.iou import pairwise_coverage
from deta.structures import BACKGROUND, IGNORED, Matches, Prediction, Targets


@torch.no_grad()
def ignore_covered(matches: Matches, prediction: Prediction, targets: Targets, min_coverage: float) -> Matches:
    """Turn background candidates inside an ignored area (a crowd) into ``IGNORED``.

    Args:
        matches: Any assignment of the candidates.
        prediction: Its priors are compared; what cannot match stays as it is.
        targets: Holds the ignored areas.
        min_coverage: Share of a prior that must lie inside one area, 0..1.

    Returns:
        The new assignment; the same object if no image has such an area.
    """
    if targets.is_ignore.shape[1] == 0:
        return matches
    areas = to_corners(targets.ignore_boxes.float())
    priors = to_corners(prediction.priors.float())
    # -1 is below every ``min_coverage``, 0 included.
    coverage = pairwise_coverage(priors, areas).masked_fill(~targets.is_ignore[:, None, :], -1.0)  # [B, N, I]
    is_ignored = (matches.target == BACKGROUND) & prediction.can_match() & (coverage.amax(-1) >= min_coverage)
    return replace(matches, target=torch.where(is_ignored, IGNORED, matches.target))
