"""Areas without annotation."""

from dataclasses import replace

import torch

from deta.assign import IoUAssigner, ignore_covered
from deta.structures import BACKGROUND, IGNORED
from tests.assign.scenes import assigned, candidates, objects, statistics

CENTRE = (0.5, 0.5, 0.2, 0.2)


def test_background_inside_a_crowd_is_ignored_and_positives_stay() -> None:
    scene = candidates([CENTRE, (0.5, 0.5, 0.1, 0.1), (0.95, 0.5, 0.1, 0.1), (0.75, 0.5, 0.3, 0.1)])
    targets = replace(
        objects([CENTRE]),
        ignore_boxes=torch.tensor([[(0.4, 0.5, 0.8, 0.8), (0.95, 0.5, 0.1, 0.1)]]),
        is_ignore=torch.tensor([[True, False]]),
    )
    matches = assigned(IoUAssigner(gamma=None), scene, targets)
    found = ignore_covered(matches, scene, targets, 0.5)
    # The last box lies two thirds inside the area, the third one only in padding.
    assert found.target.tolist() == [[0, IGNORED, BACKGROUND, IGNORED]]
    assert statistics(found, scene, targets).num_ignored == 2
    assert ignore_covered(matches, scene, targets, 0.9).target.tolist() == [[0, IGNORED, BACKGROUND, BACKGROUND]]
