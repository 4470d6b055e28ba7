"""The head of dense detectors: towers of convolutions, shared by all levels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.utils.checks import require_bool, require_int


class DenseHead(nn.Module):
    """Two towers, of classes and of boxes, and a convolution each that writes what a cell predicts.

    Source: arXiv:1708.02002, sec. 4 (RetinaNet); arXiv:1904.01355, sec. 3.1 (FCOS: group norms, quality).

    Args:
        channels: Of every level, all equal.
        num_classes: Categories.
        per_cell: Candidates of a cell.
        code_size: Numbers that a box is coded as.
        hidden_dim: Channels of the towers, those of every level.
        num_convs: Convolutions of a tower.
        num_groups: Of the group norm behind each; None is no norm.
        bias: Whether convolutions of towers have one.
        quality: Whether a logit says how good a box is, made by the tower of boxes.
        level_scale: Whether codes of every level have a learned factor.
        positive_code: Whether negative numbers of a code count as 0, as distances must.
        num_levels: Levels, where they have a factor each.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        num_classes: int,
        per_cell: int,
        code_size: int,
        hidden_dim: int,
        num_levels: int,
        num_convs: int = 4,
        num_groups: int | None = None,
        bias: bool = True,
        quality: bool = False,
        level_scale: bool = False,
        positive_code: bool = False,
    ) -> None:
        super().__init__()
        width = require_int("model.body.hidden_dim", hidden_dim, low=1)
        if set(channels) != {width}:
            raise ValueError(
                f"model.neck must make all levels {width} channels wide, as model.body.hidden_dim says, got {channels}"
            )
        require_int("model.body.head.num_convs", num_convs, low=0)
        require_bool("model.body.head.bias", bias)
        if num_groups is not None and width % require_int("model.body.head.num_groups", num_groups, low=1):
            raise ValueError(f"model.body.head.num_groups {num_groups} must divide the {width} channels of the neck")
        self.num_classes, self.code_size = num_classes, code_size
        towers = [_tower(width, num_convs, num_groups, bias=bias) for _ in range(2)]
        self.class_tower, self.box_tower = towers
        self.class_logits = nn.Conv2d(width, per_cell * num_classes, 3, padding=1)
        self.box_code = nn.Conv2d(width, per_cell * code_size, 3, padding=1)
        self.quality = (
            nn.Conv2d(width, per_cell, 3, padding=1) if require_bool("model.body.head.quality", quality) else None
        )
        require_bool("model.body.head.level_scale", level_scale)
        self.positive_code = require_bool("model.body.head.positive_code", positive_code)
        scales = [nn.Parameter(torch.ones(())) for _ in range(num_levels)]
        self.level_scale = nn.ParameterList(scales) if level_scale else None
        start_convolutions(self, std=0.01)
        start_at_probability(self.class_logits, 0.01)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits ``[B, N, C]``, codes ``[B, N, code_size]`` and quality ``[B, N]`` or None, float32, level by level."""
        logits, codes, qualities = [], [], []
        for level, feature in enumerate(maps):
            of_classes, of_boxes = self.class_tower(feature), self.box_tower(feature)
            with torch.autocast(feature.device.type, enabled=False):  # half-precision logits tie
                logits.append(rows_of(self.class_logits(of_classes.float()), self.num_classes))
                code = rows_of(self.box_code(of_boxes.float()), self.code_size)
                code = code if self.level_scale is None else code * self.level_scale[level]
                codes.append(code.relu() if self.positive_code else code)
                if self.quality is not None:
                    qualities.append(rows_of(self.quality(of_boxes.float()), 1)[..., 0])
        return torch.cat(logits, 1), torch.cat(codes, 1), torch.cat(qualities, 1) if qualities else None


def _tower(channels: int, num_convs: int, num_groups: int | None, *, bias: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        norm = [] if num_groups is None else [nn.GroupNorm(num_groups, channels)]
        layers.append(nn.Sequential(convolution, *norm, nn.ReLU()))
    return nn.Sequential(*layers)


def start_convolutions(module: nn.Module, *, std: float) -> None:
    """Draw the weights of all convolutions of ``module`` from a normal distribution around 0; their biases are 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def start_at_probability(logits: nn.Module, probability: float) -> None:
    """Set the bias of the convolution ``logits`` so that its sigmoids begin near ``probability``, in 0..1."""
    assert isinstance(logits, nn.Conv2d)
    assert logits.bias is not None
    nn.init.constant_(logits.bias, -math.log((1 - probability) / probability))


def rows_of(output: Tensor, size: int) -> Tensor:
    """``[B, h * w * A, size]`` of a map ``[B, A * size, h, w]``: row by row, the A of a cell together."""
    num_images, _, height, width = output.shape
    cells = output.view(num_images, -1, size, height, width).permute(0, 3, 4, 1, 2)  # [B, h, w, A, size]
    return cells.reshape(num_images, -1, size)  # [B, h * w * A, size]
