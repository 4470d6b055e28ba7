"""Parameters and operations of the parts of a detector."""

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from deta.models.summary import PartSummary, summarise
from deta.ops.regions import pool_regions
from deta.training.callbacks.model_table import table
from deta_kernels import deformable_attention
from tests.models.tiny import tiny_detector

SIDE = 16


class _Operators(nn.Module):
    """Stands for a detector of operators that PyTorch has no formula of, behind one convolution."""

    def __init__(self, operator: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.operator = operator

    def forward(self, images: Tensor, is_padding: Tensor) -> Tensor:
        maps = self.conv(images.float())  # [1, 8, 16, 16]
        if self.operator == "attention":
            value = maps.flatten(2).transpose(1, 2).unflatten(2, (2, 4))  # [B, S, H, D]
            offsets, logits = torch.zeros(1, 5, 2, 1, 3, 2), torch.zeros(1, 5, 2, 3)
            return deformable_attention(value, [(SIDE, SIDE)], torch.zeros(1, 5, 1, 2), offsets, logits)
        if self.operator == "regions":
            boxes, levels = torch.zeros(1, 5, 4), torch.zeros(1, 5, dtype=torch.int64)
            return pool_regions([maps], boxes, levels, scales=[1.0], resolution=7, samples=2, aligned=True)
        offset = torch.zeros(1, 18, SIDE, SIDE)
        moved: torch.Tensor = deform_conv2d(maps, offset, torch.zeros(4, 8, 3, 3), padding=1)
        return moved


CONV = 2 * 8 * 3 * 9 * SIDE**2
BY_HAND = {
    "attention": 2 * 5 * (5 * 2 * 4) * 3,  # five multiply-adds for each output value and point
    "regions": 2 * 5 * (5 * 8 * 7 * 7) * 2**2,
    "moved": 2 * 4 * 8 * 9 * SIDE**2 + 2 * 5 * 8 * 9 * SIDE**2,
}


def test_operations_of_own_operators_are_those_counted_by_hand() -> None:
    for operator, number in BY_HAND.items():
        conv, whole = summarise(_Operators(operator), (SIDE, SIDE))
        assert conv == PartSummary("conv", 216, 216, CONV)
        assert whole.flops == CONV + number, operator


def test_the_parts_of_a_detector_make_up_the_whole_which_stays_as_it_was() -> None:
    detector = tiny_detector()
    detector.backbone.eval()
    next(detector.backbone.parameters()).requires_grad_(False)
    modes = [part.training for part in detector.modules()]
    *parts, whole = summarise(detector, (128, 192))
    assert [part.name for part in parts] == [
        "backbone",
        "neck",
        "body.encoder",
        "body.source",
        "body.decoder",
        "body.heads",
    ]
    assert whole.num_parameters == sum(weight.numel() for weight in detector.parameters())
    assert whole.num_parameters - sum(part.num_parameters for part in parts) >= 0
    assert whole.num_trained == whole.num_parameters - next(detector.backbone.parameters()).numel()
    assert whole.flops is not None
    assert all(part.flops for part in parts)
    assert sum(part.flops or 0 for part in parts) == whole.flops  # nothing of the sort happens between them
    assert [part.training for part in detector.modules()] == modes


def test_larger_images_need_more_operations_and_none_are_counted_unless_asked_for() -> None:
    detector = tiny_detector()
    small, large = (summarise(detector, size)[0].flops for size in ((128, 128), (128, 256)))
    assert small is not None
    assert large == 2 * small  # of convolutions
    assert {part.flops for part in summarise(detector)} == {None}


def test_the_table_says_at_which_size_operations_were_counted() -> None:
    parts = [PartSummary("neck", 1000, 0, 2_500_000_000), PartSummary("", 1234567, 1233567, 3_000_000_000)]
    assert table(parts, (640, 480)).splitlines() == [
        "The model has 1,234,567 parameters, of which 1,233,567 are trained",
        "  part  parameters    trained  GFLOPs at 640 x 480",
        "  neck       1,000          0                2.500",
        "  all    1,234,567  1,233,567                3.000",
    ]
