"""The head of region proposal networks: one tower for classes and boxes."""

import torch
from torch import Tensor, nn

from deta.models.dense.base import HeadShape, LevelHead, start_convolutions
from deta.utils.checks import require_int


class JointHead(LevelHead):
    """A tower of convolutions, and a 1x1 convolution each for classes and boxes, shared by all levels.

    Source: arXiv:1506.01497 (Faster R-CNN), sec. 3.1.

    Args:
        shape: What the body tells; all levels have its ``hidden_dim`` channels.
        num_convs: Convolutions of the tower.
    """

    def __init__(self, shape: HeadShape, *, num_convs: int = 1) -> None:
        super().__init__(shape)
        width = shape.require_one_width()
        require_int("model.body.first.head.num_convs", num_convs, low=1)
        self.tower = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()) for _ in range(num_convs))
        )
        self.class_logits = nn.Conv2d(width, shape.per_cell * shape.num_classes, 1)
        self.box_code = nn.Conv2d(width, shape.per_cell * shape.code_size, 1)
        start_convolutions(self, std=0.01)

    def predict(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, None]:
        """Logits and codes of one level."""
        del level
        hidden = self.tower(feature)
        with torch.autocast(feature.device.type, enabled=False):
            hidden = hidden.float()
            return self.class_logits(hidden), self.box_code(hidden), None
