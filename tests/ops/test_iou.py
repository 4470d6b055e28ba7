"""Overlap of boxes."""

import pytest
import torch
from torchvision.ops import box_iou as reference_iou
from torchvision.ops import generalized_box_iou as reference_giou

from deta.ops.iou import box_giou, box_iou, pairwise_coverage, pairwise_giou, pairwise_iou


def random_xyxy(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(*shape, 2, generator=generator)
    return torch.cat((low, low + torch.rand(*shape, 2, generator=generator)), dim=-1)


def test_pairs_of_a_batch_equal_torchvision_per_image() -> None:
    first, second = random_xyxy(0, 3, 7), random_xyxy(1, 3, 5)
    for image in range(3):
        torch.testing.assert_close(pairwise_iou(first, second)[image], reference_iou(first[image], second[image]))
        torch.testing.assert_close(pairwise_giou(first, second)[image], reference_giou(first[image], second[image]))


@pytest.mark.parametrize("overlap", [box_iou, box_giou])
def test_boxes_without_area_give_a_finite_value_and_gradient(overlap: object) -> None:
    assert callable(overlap)
    point = torch.tensor([0.5, 0.5, 0.5, 0.5], requires_grad=True)
    value = overlap(point, torch.tensor([0.5, 0.5, 0.5, 0.5]))
    value.backward()
    assert value == 0
    assert point.grad is not None
    assert point.grad.isfinite().all()


def test_what_is_added_to_areas_counts_in_both_quotients() -> None:
    first, second = torch.tensor([0.0, 0.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, 4.0, 1.0])
    assert box_iou(first, second, eps=1.0) == pytest.approx(1 / 5)
    assert box_giou(first, second, eps=1.0) == pytest.approx(1 / 5)  # the hull is the union
    assert box_giou(first, second + 3, eps=1.0) == pytest.approx(-(7 * 4 - 5) / (7 * 4 + 1))


def test_coverage_is_the_share_of_the_box_inside_the_area() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    areas = torch.tensor([[1.0, 0.0, 9.0, 9.0], [-1.0, -1.0, 5.0, 5.0]])
    assert pairwise_coverage(boxes, areas).tolist() == [[0.5, 1.0], [0.0, 0.0]]


def test_no_boxes_give_an_empty_matrix() -> None:
    assert pairwise_iou(torch.zeros(2, 0, 4), torch.zeros(2, 3, 4)).shape == (2, 0, 3)
