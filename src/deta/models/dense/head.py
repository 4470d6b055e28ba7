"""The head of dense detectors: towers of convolutions, shared by all levels."""

import torch
from torch import Tensor, nn

from deta.models.dense.base import HeadShape, LevelHead, start_at_probability, start_convolutions
from deta.utils.checks import require_bool, require_int


class DenseHead(LevelHead):
    """Two towers, of classes and of boxes, and a convolution each that writes what a cell predicts.

    Source: arXiv:1708.02002, sec. 4 (RetinaNet); arXiv:1904.01355, sec. 3.1 (FCOS: group norms, quality).

    Args:
        shape: What the body tells; all levels have its ``hidden_dim`` channels.
        num_convs: Convolutions of a tower.
        num_groups: Of the group norm behind each; None is no norm.
        bias: Whether convolutions of towers have one.
        quality: Whether a logit says how good a box is, made by the tower of boxes.
        level_scale: Whether codes of every level have a learned factor.
        positive_code: Whether negative numbers of a code count as 0, as distances must.
    """

    def __init__(
        self,
        shape: HeadShape,
        *,
        num_convs: int = 4,
        num_groups: int | None = None,
        bias: bool = True,
        quality: bool = False,
        level_scale: bool = False,
        positive_code: bool = False,
    ) -> None:
        super().__init__(shape)
        width = shape.require_one_width()
        require_int("model.body.head.num_convs", num_convs, low=0)
        require_bool("model.body.head.bias", bias)
        if num_groups is not None and width % require_int("model.body.head.num_groups", num_groups, low=1):
            raise ValueError(f"model.body.head.num_groups {num_groups} must divide the {width} channels of the neck")
        towers = [_tower(width, num_convs, num_groups, bias=bias) for _ in range(2)]
        self.class_tower, self.box_tower = towers
        self.class_logits = nn.Conv2d(width, shape.per_cell * shape.num_classes, 3, padding=1)
        self.box_code = nn.Conv2d(width, shape.per_cell * shape.code_size, 3, padding=1)
        self.quality = (
            nn.Conv2d(width, shape.per_cell, 3, padding=1) if require_bool("model.body.head.quality", quality) else None
        )
        require_bool("model.body.head.level_scale", level_scale)
        self.positive_code = require_bool("model.body.head.positive_code", positive_code)
        scales = [nn.Parameter(torch.ones(())) for _ in shape.channels]
        self.level_scale = nn.ParameterList(scales) if level_scale else None
        start_convolutions(self, std=0.01)
        start_at_probability(self.class_logits, 0.01)

    def predict(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits, codes and quality of one level."""
        of_classes, of_boxes = self.class_tower(feature), self.box_tower(feature)
        with torch.autocast(feature.device.type, enabled=False):
            of_boxes = of_boxes.float()
            code = self.box_code(of_boxes)
            code = code if self.level_scale is None else code * self.level_scale[level]
            return (
                self.class_logits(of_classes.float()),
                code.relu() if self.positive_code else code,
                None if self.quality is None else self.quality(of_boxes),
            )


def _tower(channels: int, num_convs: int, num_groups: int | None, *, bias: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        norm = [] if num_groups is None else [nn.GroupNorm(num_groups, channels)]
        layers.append(nn.Sequential(convolution, *norm, nn.ReLU()))
    return nn.Sequential(*layers)
