"""The first stage of TSP-RCNN: two towers whose norms are those of a level."""

import torch
from torch import Tensor, nn

from deta.models.dense.base import HeadShape, LevelHead, start_convolutions
from deta.utils.checks import require_int


class ApartHead(LevelHead):
    """A tower each for classes and boxes; convolutions serve all levels, batch norms one each.

    Source: arXiv:2011.10881 (TSP-RCNN), release.

    Args:
        shape: What the body tells; all levels have its ``hidden_dim`` channels.
        num_convs: Convolutions of a tower.
    """

    def __init__(self, shape: HeadShape, *, num_convs: int = 2) -> None:
        super().__init__(shape)
        width = shape.require_one_width()
        require_int("model.body.first.head.num_convs", num_convs, low=1)
        self.class_tower, self.box_tower = (_Tower(width, len(shape.channels), num_convs) for _ in range(2))
        self.class_logits = nn.Conv2d(width, shape.per_cell * shape.num_classes, 1)
        self.box_code = nn.Conv2d(width, shape.per_cell * shape.code_size, 1)
        start_convolutions(self, std=0.01)

    def predict(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, None]:
        """Logits and codes of one level."""
        of_classes, of_boxes = self.class_tower(feature, level), self.box_tower(feature, level)
        with torch.autocast(feature.device.type, enabled=False):
            return self.class_logits(of_classes.float()), self.box_code(of_boxes.float()), None


class _Tower(nn.Module):
    def __init__(self, channels: int, num_levels: int, num_convs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(num_convs))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(num_convs)) for _ in range(num_levels)
        )

    def forward(self, feature: Tensor, level: int) -> Tensor:
        norms = self.norms[level]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            feature = norm(conv(feature)).relu()
        return feature
