"""The decoupled head of YOLOX: towers of its own for every level."""

import torch
from torch import Tensor, nn

from deta.models.cross_stage import conv_norm
from deta.models.dense.base import HeadShape, LevelHead, start_at_probability
from deta.utils.checks import require_int


class DecoupledHead(LevelHead):
    """A stem, a tower of classes and one of boxes and quality for every level, whose widths may differ.

    Source: arXiv:2107.08430 (YOLOX), sec. 2.1.

    Args:
        shape: What the body tells; stems and towers have its ``hidden_dim`` channels.
        num_convs: Convolutions of a tower.
    """

    def __init__(self, shape: HeadShape, *, num_convs: int = 2) -> None:
        super().__init__(shape)
        width = require_int("model.body.hidden_dim", shape.hidden_dim, low=1)
        require_int("model.body.head.num_convs", num_convs, low=0)

        def tower() -> nn.Sequential:
            return nn.Sequential(*(conv_norm(width, width, 3) for _ in range(num_convs)))

        def output(size: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(width, shape.per_cell * size, 1) for _ in shape.channels)

        self.stems = nn.ModuleList(conv_norm(channels, width, 1) for channels in shape.channels)
        self.class_towers = nn.ModuleList(tower() for _ in shape.channels)
        self.box_towers = nn.ModuleList(tower() for _ in shape.channels)
        self.class_logits, self.box_code, self.quality = output(shape.num_classes), output(shape.code_size), output(1)
        for part in (*self.class_logits, *self.quality):
            start_at_probability(part, 0.01)

    def predict(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, codes and quality of one level."""
        stem = self.stems[level](feature)
        of_classes, of_boxes = self.class_towers[level](stem), self.box_towers[level](stem)
        with torch.autocast(feature.device.type, enabled=False):
            of_boxes = of_boxes.float()
            return (
                self.class_logits[level](of_classes.float()),
                self.box_code[level](of_boxes),
                self.quality[level](of_boxes),
            )
