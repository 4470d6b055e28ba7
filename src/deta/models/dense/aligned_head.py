"""The head of TOOD, whose classes and boxes come of one tower and are aligned with each other."""

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from deta.models.dense.base import HeadShape, LevelHead, start_at_probability, start_convolutions
from deta.utils.checks import require_int

REDUCTION = 8
"""Channels of the attention over layers are those of the tower divided by this times the convolutions (release)."""


class AlignedHead(LevelHead):
    """One tower whose layers are weighed apart for classes and for boxes; corners of boxes are looked up beside a cell.

    Classes have a quality that the score is a product with; codes are distances in strides, for
    ``DistanceCodec(unit="stride")`` on priors at the corners of cells.
    Source: arXiv:2108.07755 (TOOD), sec. 3.1, and its release.

    Args:
        shape: What the body tells: one candidate in a cell, codes of four distances; all levels have its ``hidden_dim``
            channels, a multiple of 4.
        num_convs: Convolutions of the tower.
        num_groups: Of the group norms.
    """

    def __init__(self, shape: HeadShape, *, num_convs: int = 6, num_groups: int = 32) -> None:
        super().__init__(shape)
        require_int("model.body.head.num_convs", num_convs, low=1)
        if (shape.per_cell, shape.code_size) != (1, 4):
            raise ValueError(
                "model.body.head AlignedHead needs one prior for a cell (model.body.priors) and four distances "
                "(model.body.codec)"
            )
        width = shape.require_one_width()
        if width % require_int("model.body.head.num_groups", num_groups, low=1):
            raise ValueError(f"model.body.head.num_groups {num_groups} must divide the {width} channels of the neck")
        every = num_convs * width
        self.tower = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.GroupNorm(num_groups, width),
                nn.ReLU(),
            )
            for _ in range(num_convs)
        )
        self.class_layers = LayerAttention(width, num_convs, num_groups)
        self.box_layers = LayerAttention(width, num_convs, num_groups)
        self.class_logits = nn.Conv2d(width, shape.num_classes, 3, padding=1)
        self.box_code = nn.Conv2d(width, 4, 3, padding=1)
        self.quality = _narrow(every, width // 4, 1)
        self.offsets = _narrow(every, width // 4, 8)
        self.level_scale = nn.ParameterList([nn.Parameter(torch.ones(())) for _ in shape.channels])
        start_convolutions(self, std=0.01)
        for part in (self.class_logits, self.quality[-1]):
            start_at_probability(part, 0.01)

    def predict(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, codes and quality of one level."""
        layers = []
        for convolution in self.tower:
            feature = convolution(feature)
            layers.append(feature)
        every = torch.cat(layers, dim=1)
        mean = every.mean((2, 3), keepdim=True)
        of_classes, of_boxes = self.class_layers(every, mean), self.box_layers(every, mean)
        with torch.autocast(feature.device.type, enabled=False):
            every = every.float()
            distances = self.box_code(of_boxes.float()).exp() * self.level_scale[level]
            return self.class_logits(of_classes.float()), _aligned(distances, self.offsets(every)), self.quality(every)


class LayerAttention(nn.Module):
    """A 1x1 convolution of all layers of a tower, each weighed by the mean of all over the whole map.

    Args:
        hidden_dim: Channels of every layer.
        num_layers: Layers.
        num_groups: Of the group norm behind it.
    """

    def __init__(self, hidden_dim: int, num_layers: int, num_groups: int) -> None:
        super().__init__()
        every = hidden_dim * num_layers
        self.num_layers = num_layers
        narrow = max(1, every // (num_layers * REDUCTION))
        self.attention = nn.Sequential(nn.Conv2d(every, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, num_layers, 1))
        self.reduction = nn.Conv2d(every, hidden_dim, 1, bias=False)
        self.norm = nn.GroupNorm(num_groups, hidden_dim)

    def forward(self, every: Tensor, mean: Tensor) -> Tensor:
        """``[B, D, h, w]`` of the layers ``[B, L * D, h, w]`` and their ``[B, L * D, 1, 1]`` mean."""
        weights = self.attention(mean).sigmoid()  # [B, L, 1, 1]
        weighed = every * weights.repeat_interleave(every.shape[1] // self.num_layers, dim=1)
        output: Tensor = self.norm(self.reduction(weighed)).relu()
        return output


def _narrow(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 3, padding=1))


def _aligned(distances: Tensor, offsets: Tensor) -> Tensor:
    """``[B, 4, h, w]`` distances whose corners are those of boxes beside the cell.

    Args:
        distances: ``[B, 4, h, w]`` left, top, right, bottom, in cells.
        offsets: ``[B, 8, h, w]``: where to look for each of them, ``(dy, dx)`` in cells; outside of the map is 0.
    """
    height, width = distances.shape[-2:]
    rows, columns = (torch.arange(count, device=distances.device, dtype=distances.dtype) for count in (height, width))
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).repeat(2, 1, 1)  # [4, h, w]
    corners = places + _outwards(distances)
    # Every coordinate is a channel and a group of its own.
    moved = deform_conv2d(corners, offsets, torch.ones(4, 1, 1, 1, device=corners.device, dtype=corners.dtype))
    is_turned = (moved[:, :2] > moved[:, 2:]).any(1, keepdim=True)
    return _outwards(torch.where(is_turned, corners, moved) - places)


def _outwards(distances: Tensor) -> Tensor:
    """Left and top against the axes."""
    return torch.cat((-distances[:, :2], distances[:, 2:]), dim=1)
