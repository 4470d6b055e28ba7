"""The paper's rule."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from deta.assign import IoUAssigner
from deta.structures import BACKGROUND, IGNORED, Targets
from deta.testing import check_assigner
from tests.assign.scenes import assigned, candidates, objects, random_scene, statistics

CENTRE = (0.5, 0.5, 0.2, 0.2)


def shifted(by: float) -> tuple[float, float, float, float]:
    """The centre box moved right; its IoU with the centre box is (0.2 - by) / (0.2 + by)."""
    return (0.5 + by, 0.5, 0.2, 0.2)


def slow_rule(
    references: Tensor, boxes: Tensor, tau: float, max_per_target: int | None, closest_box: bool
) -> list[int]:
    """Equations 2 and 3 of arXiv:2212.06137, one box and one object at a time."""
    overlap = box_iou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(references, "cxcywh", "xyxy")).tolist()
    answer = []
    for i in range(len(references)):
        column = [row[i] for row in overlap]
        k = column.index(max(column))
        ranked = sorted(overlap[k], reverse=True)
        threshold = tau
        if max_per_target is not None and max_per_target <= len(ranked):
            threshold = max(tau, ranked[max_per_target - 1])
        is_positive = column[k] >= threshold or (closest_box and column[k] == ranked[0])
        answer.append(k if is_positive and column[k] > 0 else BACKGROUND)
    return answer


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("tau", "max_per_target", "closest_box"),
    [(0.6, 4, True), (0.7, None, True), (0.3, 2, False), (0.0, 1, True), (0.5, 100, False)],
)
def test_batched_rule_equals_the_papers_equations(
    seed: int, tau: float, max_per_target: int | None, closest_box: bool
) -> None:
    scene, targets = random_scene(seed)
    assigner = IoUAssigner(tau=tau, max_per_target=max_per_target, gamma=None, closest_box=closest_box)
    found = assigned(assigner, scene, targets).target
    for image, count in enumerate(targets.is_object.sum(1).tolist()):
        is_valid = scene.can_match()[image]
        expected = torch.full_like(found[image], BACKGROUND)
        if count:
            references, boxes = scene.priors[image][is_valid], targets.boxes[image, :count]
            rule = slow_rule(references, boxes, tau, max_per_target, closest_box)
            expected[is_valid] = torch.tensor(rule)
        assert found[image].tolist() == expected.tolist()


@pytest.mark.parametrize(
    "options", [{}, {"tau": 0.3, "max_per_target": None, "gamma": 0.1}, {"closest_box": False, "ignore_above": 0.1}]
)
def test_the_rule_does_what_every_rule_must(options: dict[str, Any]) -> None:
    check_assigner(IoUAssigner(**options))


def test_box_over_the_threshold_is_positive_and_one_below_is_not() -> None:
    scene = candidates([CENTRE, shifted(0.04), shifted(0.06)])  # IoU 1, 0.667, 0.538
    matches = assigned(IoUAssigner(tau=0.6, gamma=None), scene, objects([CENTRE]))
    assert matches.target.tolist() == [[0, 0, BACKGROUND]]


def test_object_far_from_every_box_gets_its_closest_box() -> None:
    scene = candidates([shifted(0.1), shifted(0.12)])
    with_rule = assigned(IoUAssigner(tau=0.6, gamma=None), scene, objects([CENTRE]))
    without = assigned(IoUAssigner(tau=0.6, gamma=None, closest_box=False), scene, objects([CENTRE]))
    assert with_rule.target.tolist() == [[0, BACKGROUND]]
    assert without.target.tolist() == [[BACKGROUND, BACKGROUND]]
    assert statistics(with_rule, scene, objects([CENTRE])).noted["rescued"].tolist() == [0, 1, 0]
    assert statistics(without, scene, objects([CENTRE])).num_unmatched.tolist() == [0, 1, 0]


def test_object_without_any_overlap_stays_unmatched_and_is_counted() -> None:
    scene = candidates([CENTRE, shifted(0.01)])
    targets = objects([CENTRE, (0.05, 0.05, 0.05, 0.05)])
    matches = assigned(IoUAssigner(tau=0.6, gamma=None), scene, targets)
    assert matches.target.tolist() == [[0, 0]]
    assert statistics(matches, scene, targets).num_unmatched.sum() == 1


@pytest.mark.parametrize("degenerate", [(0.5, 0.5, 0.0, 0.0), (3.0, 3.0, 0.1, 0.1)])
def test_zero_area_or_outside_object_claims_no_box(degenerate: tuple[float, float, float, float]) -> None:
    matches = assigned(IoUAssigner(tau=0.0, gamma=None), candidates([CENTRE, shifted(0.3)]), objects([degenerate]))
    assert (matches.target == BACKGROUND).all()


def test_object_larger_than_the_image_is_assigned() -> None:
    matches = assigned(IoUAssigner(tau=0.6), candidates([(0.5, 0.5, 1.0, 1.0)] * 4), objects([(0.5, 0.5, 1.2, 1.2)]))
    assert matches.target.max() == 0


def test_boxes_that_pass_for_two_objects_are_counted() -> None:
    scene = candidates([shifted(0.01 * k) for k in range(10)])
    targets = objects([CENTRE, shifted(0.05)])
    matches = assigned(IoUAssigner(tau=0.3, gamma=None, max_per_target=None), scene, targets)
    assert statistics(matches, scene, targets).noted["contested"].sum() > 0


def test_balance_limits_positives_of_an_object_to_n() -> None:
    scene = candidates([shifted(0.001 * k) for k in range(1, 21)])
    for limit in (1, 4, 20):
        matches = assigned(IoUAssigner(tau=0.5, max_per_target=limit, gamma=None), scene, objects([CENTRE]))
        assert (matches.target == 0).sum() == limit


def test_sampling_keeps_a_share_of_the_boxes_and_reports_the_cut() -> None:
    scene = candidates([CENTRE] * 40, [(0.9, 0.9, 0.01, 0.01)] * 40)
    targets = objects([CENTRE], [CENTRE])
    assigner = IoUAssigner(tau=0.5, max_per_target=None, gamma=0.25)
    first = assigned(assigner, scene, targets, 1)
    second = assigned(assigner, scene, targets, 1)
    other = assigned(assigner, scene, targets, 2)
    assert (first.target >= 0).sum(1).tolist() == [10, 0]
    assert statistics(first, scene, targets).noted["cut"] == 1
    assert torch.equal(first.target, second.target)
    assert not torch.equal(first.target, other.target)


def test_ignore_band_takes_boxes_just_below_the_threshold_out_of_the_loss() -> None:
    scene = candidates([CENTRE, shifted(0.06), shifted(0.15)])  # IoU 1, 0.538, 0.143
    matches = assigned(IoUAssigner(tau=0.6, gamma=None, ignore_above=0.4), scene, objects([CENTRE]))
    assert matches.target.tolist() == [[0, IGNORED, BACKGROUND]]
    assert statistics(matches, scene, objects([CENTRE])).num_ignored == 1


def test_more_objects_than_boxes_gives_every_box_one_object() -> None:
    crowd = [shifted(0.01 * k) for k in range(12)]
    matches = assigned(
        IoUAssigner(tau=0.5, gamma=None, max_per_target=4), candidates([CENTRE, shifted(0.05)]), objects(crowd)
    )
    assert sorted(matches.target[0].tolist()) == [0, 5]


def test_identical_objects_share_no_box_and_one_stays_unmatched() -> None:
    scene, targets = candidates([CENTRE] * 3), objects([CENTRE, CENTRE])
    matches = assigned(IoUAssigner(gamma=None), scene, targets)
    assert len(set(matches.target[0].tolist())) == 1
    assert statistics(matches, scene, targets).num_unmatched.sum() == 1


def test_statistics_count_by_object_size() -> None:
    targets = objects([CENTRE, (0.1, 0.1, 0.1, 0.1)])
    targets = Targets(
        **{**vars(targets), "areas": torch.tensor([[100.0**2, 10.0**2]])},
    )
    scene = candidates([CENTRE, CENTRE, (0.1, 0.1, 0.1, 0.08)])
    stats = statistics(assigned(IoUAssigner(gamma=None), scene, targets), scene, targets)
    assert stats.num_images == 1
    assert stats.num_objects.tolist() == [1, 0, 1]
    assert stats.num_positives.tolist() == [1, 0, 2]
    torch.testing.assert_close(stats.sum_iou, torch.tensor([0.8, 0.0, 2.0]))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"tau": 1.5}, "tau"),
        ({"tau": "high"}, "tau"),
        ({"max_per_target": 0}, "max_per_target"),
        ({"gamma": -0.1}, "gamma"),
        ({"closest_box": 1}, "closest_box"),
        ({"ignore_above": 2}, "ignore_above"),
    ],
)
def test_argument_out_of_range_is_named(arguments: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        IoUAssigner(**arguments)  # type: ignore[arg-type]
