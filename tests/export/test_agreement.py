"""When two lists of detections count as one."""

import torch
from torch import Tensor

from deta.export.agreement import compare


def detections(*rows: tuple[float, float, int]) -> list[Tensor]:
    """Boxes that begin at the first number, with score and label."""
    starts, scores, labels = zip(*rows, strict=True)
    corners = torch.tensor([[[start, start, start + 10, start + 10] for start in starts]])
    return [corners, torch.tensor([scores]), torch.tensor([labels])]


BOTH = ((0.0, 0.9, 1), (40.0, 0.5, 2))


def test_the_largest_differences_of_equal_detections_are_told() -> None:
    found = compare(detections(*BOTH), detections((0.25, 0.9, 1), (40.0, 0.5005, 2)), 0.1)
    assert (found.num_detections, found.num_different) == (2, 0)
    assert abs(found.pixels - 0.25) < 1e-6
    assert abs(found.score - 0.0005) < 1e-6


def test_detections_of_nearly_equal_scores_may_stand_in_another_order() -> None:
    found = compare(detections((0, 0.5, 1), (40, 0.4999, 1)), detections((40, 0.5, 1), (0, 0.4999, 1)), 0.1)
    assert (found.num_detections, found.num_different, found.pixels) == (2, 0, 0.0)


def test_another_class_another_place_and_another_score_are_differences() -> None:
    for other in ((0.0, 0.9, 3), (0.6, 0.9, 1), (0.0, 0.898, 1)):
        assert compare(detections(*BOTH), detections(other, BOTH[1]), 0.1).num_different == 1


def test_a_detection_of_one_side_alone_is_a_difference() -> None:
    more = detections(*BOTH, (80, 0.4, 1))
    fewer = detections(*BOTH, (0, 0.0, 0))
    assert compare(more, fewer, 0.1).num_different == 1
    assert compare(fewer, more, 0.1).num_different == 1


def test_what_has_just_missed_the_last_place_or_the_least_score_is_no_difference() -> None:
    assert compare(detections(*BOTH), detections(BOTH[0], (80, 0.5004, 2)), 0.1).num_different == 0
    assert compare(detections(*BOTH), detections(BOTH[0], (0, 0.0, 0)), 0.4999).num_different == 0


def test_nothing_on_both_sides_is_equal() -> None:
    assert compare(detections((0, 0.0, 0)), detections((0, 0.0, 0)), 0.1).num_detections == 0


def test_the_best_pairs_are_compared_where_all_candidates_are_given() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [40.0, 40, 50, 50]]])
    scores = torch.tensor([[[0.9, 0.2, 0.0], [0.0, 0.0, 0.6]]])
    same = compare([boxes, scores], [boxes.flip(1), scores.flip(1)], 0.1)
    assert (same.num_detections, same.num_different) == (3, 0)
    assert compare([boxes, scores], [boxes, scores.flip(1)], 0.1).num_different == 3
