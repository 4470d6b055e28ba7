"""Suppression by Triton kernels in Triton's interpreter; ``test_triton_interpreted.py`` runs this file."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import nms

from deta_kernels import nms as kernels
from deta_kernels.nms import survivors

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # of two boxes without area


def expected(boxes: Tensor, threshold: float) -> Tensor:
    """What torchvision keeps of boxes that come best first."""
    keep = torch.zeros(boxes.shape[:2], dtype=torch.bool)
    for image, of_image in enumerate(boxes):
        keep[image, nms(of_image, -torch.arange(len(of_image)).double(), threshold)] = True
    return keep


def random_boxes(num_images: int, num_boxes: int, *, seed: int = 0) -> Tensor:
    """On whole numbers, so that many are equal, without area, or at the threshold exactly."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 6, (num_images, num_boxes, 2), generator=generator).double()
    return torch.cat((corner, corner + torch.randint(0, 5, corner.shape, generator=generator)), dim=-1)


@pytest.mark.parametrize(
    ("num_boxes", "threshold"),
    [
        (1, 0.5),
        (32, 0.0),
        (32, 0.7),
        (70, 0.5),
        *(pytest.param(70, threshold, marks=pytest.mark.slow) for threshold in (0.0, 0.7)),
    ],
)
def test_survivors_are_those_of_torchvision(num_boxes: int, threshold: float) -> None:
    boxes = random_boxes(2, num_boxes)
    assert torch.equal(survivors(boxes, threshold), expected(boxes, threshold))


def test_a_box_at_exactly_the_threshold_survives() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 7]]]).double()  # IoU 7/10, which float32 rounds down
    assert survivors(boxes, 0.7).tolist() == [[True, True]]
    assert survivors(boxes, 0.6999).tolist() == [[True, False]]


def test_a_removed_box_removes_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18]]]).double()  # neighbours overlap alone
    assert survivors(boxes, 0.4).tolist() == [[True, False, True]]


def test_rows_of_several_blocks_of_words_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_BLOCK_WORDS", 2)
    boxes = random_boxes(1, 140, seed=1)
    assert torch.equal(survivors(boxes, 0.3), expected(boxes, 0.3))


def test_no_boxes_give_no_survivors() -> None:
    assert survivors(torch.zeros(2, 0, 4).double(), 0.5).shape == (2, 0)
    assert survivors(torch.zeros(0, 3, 4).double(), 0.5).shape == (0, 3)
