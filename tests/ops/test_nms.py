"""Suppression inside groups."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deta.ops.iou import pairwise_iou
from deta.ops.nms import grouped_nms

Suppress = Callable[..., Tensor]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def suppress(request: pytest.FixtureRequest) -> Suppress:
    """``grouped_nms`` on a device; arguments and result are on the CPU."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")

    def run(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, *rest: Tensor) -> Tensor:
        device = torch.device(request.param)
        further = [tensor.to(device) for tensor in rest]
        return grouped_nms(boxes.to(device), scores.to(device), groups.to(device), threshold, *further).cpu()

    return run


def test_result_equals_greedy_suppression_box_by_box(suppress: Suppress) -> None:
    boxes, scores, groups = random_scene(seed=0, num_images=3, num_boxes=60)
    expected = torch.stack([greedy(*image, 0.5) for image in zip(boxes, scores, groups, strict=True)])
    assert expected.any()
    assert not expected.all()
    assert torch.equal(suppress(boxes, scores, groups, 0.5), expected)


def test_equal_boxes_of_two_groups_both_survive(suppress: Suppress) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0]] * 3])
    keep = suppress(boxes, torch.tensor([[0.3, 0.9, 0.5]]), torch.tensor([[0, 0, 1]]), 0.5)
    assert keep.tolist() == [[False, True, True]]


def test_images_do_not_suppress_each_other(suppress: Suppress) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]] * 2)
    keep = suppress(boxes, torch.tensor([[0.3], [0.9]]), torch.zeros(2, 1, dtype=torch.int64), 0.5)
    assert keep.all()


def test_box_at_exactly_the_threshold_survives(suppress: Suppress) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0]]])  # IoU 1/2
    scores, groups = torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2, dtype=torch.int64)
    assert suppress(boxes, scores, groups, 0.5).tolist() == [[True, True]]
    assert suppress(boxes, scores, groups, 0.49).tolist() == [[True, False]]


def test_earlier_box_wins_a_tie(suppress: Suppress) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0]] * 4])
    keep = suppress(boxes, torch.full((1, 4), 0.5), torch.zeros(1, 4, dtype=torch.int64), 0.5)
    assert keep.tolist() == [[True, False, False, False]]


def test_box_that_is_no_candidate_neither_survives_nor_suppresses(suppress: Suppress) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0]] * 2])
    is_candidate = torch.tensor([[False, True]])
    keep = suppress(boxes, torch.tensor([[0.9, 0.1]]), torch.zeros(1, 2, dtype=torch.int64), 0.5, is_candidate)
    assert keep.tolist() == [[False, True]]


def test_last_of_many_groups_is_as_exact_as_the_first(suppress: Suppress) -> None:
    boxes, scores, _ = random_scene(seed=1, num_images=1, num_boxes=80)
    first = suppress(boxes * 2000, scores, torch.zeros(1, 80, dtype=torch.int64), 0.5)
    last = suppress(boxes * 2000, scores, torch.full((1, 80), 1202), 0.5)
    assert torch.equal(first, last)


def test_large_sets_are_treated_like_small_ones(suppress: Suppress) -> None:
    boxes, scores, groups = random_scene(seed=2, num_images=1, num_boxes=6000)
    keep = suppress(boxes, scores, groups, 0.6)[0]
    one_group = groups[0] == 3
    alone = suppress(boxes[:, one_group], scores[:, one_group], torch.zeros_like(groups[:, one_group]), 0.6)
    assert torch.equal(keep[one_group], alone[0])


def test_no_boxes_give_no_survivors(suppress: Suppress) -> None:
    keep = suppress(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.int64), 0.5)
    assert keep.shape == (2, 0)


def random_scene(*, seed: int, num_images: int, num_boxes: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(num_images, num_boxes, 2, generator=generator) * 0.5 - 0.1
    size = torch.rand(num_images, num_boxes, 2, generator=generator) * 0.3 + 0.2
    scores = torch.rand(num_images, num_boxes, generator=generator)
    groups = torch.randint(0, 4, (num_images, num_boxes), generator=generator)
    return torch.cat((corner, corner + size), dim=-1), scores, groups


def greedy(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Take the best box that no taken box of its group overlaps too much, until none is left."""
    iou = pairwise_iou(boxes.double(), boxes.double())
    taken: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        rivals = [other for other in taken if groups[other] == groups[index]]
        if all(iou[index, other] <= threshold for other in rivals):
            taken.append(index)
    keep = torch.zeros(len(scores), dtype=torch.bool)
    keep[taken] = True
    return keep


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_one_broken_box_leaves_the_suppression_of_the_others_alone(suppress: Suppress, bad: float) -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10.5], [50, 50, 60, 60], [bad, 0, 10, 10]]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.95]])
    groups = torch.tensor([[5, 5, 3, 5]])
    assert suppress(boxes, scores, groups, 0.5).tolist() == [[True, False, True, True]]


def test_a_box_without_a_score_suppresses_nothing_and_stays(suppress: Suppress) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(1, 3, 4)
    keep = suppress(boxes, torch.tensor([[torch.nan, 0.8, 0.7]]), torch.zeros(1, 3, dtype=torch.int64), 0.5)
    assert keep.tolist() == [[True, True, False]]


def test_a_box_that_is_no_candidate_may_be_anything(suppress: Suppress) -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [torch.nan, 0, torch.inf, 10], [0, 0, 10, 10]]])
    is_candidate = torch.tensor([[True, False, True]])
    keep = suppress(boxes, torch.tensor([[0.5, 0.9, 0.4]]), torch.zeros(1, 3, dtype=torch.int64), 0.5, is_candidate)
    assert keep.tolist() == [[True, False, False]]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_every_device_suppresses_the_same_among_ties_and_boxes_without_area(
    suppress: Suppress, threshold: float
) -> None:
    generator = torch.Generator().manual_seed(3)
    corner = torch.randint(0, 6, (3, 500, 2), generator=generator).float()
    boxes = torch.cat((corner, corner + torch.randint(0, 5, (3, 500, 2), generator=generator)), dim=-1)
    scores = torch.randint(0, 9, (3, 500), generator=generator) / 10
    groups = torch.randint(0, 3, (3, 500), generator=generator)
    found = suppress(boxes, scores, groups, threshold)
    assert torch.equal(found, grouped_nms(boxes, scores, groups, threshold))
    assert found.any()
    assert not found.all()
