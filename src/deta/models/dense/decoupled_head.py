"""The decoupled head of YOLOX: towers of its own for every level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.models.cross_stage import conv_norm
from deta.models.dense.head import rows_of, start_at_probability
from deta.utils.checks import require_int


class DecoupledHead(nn.Module):
    """A stem, a tower of classes and one of boxes and quality for every level, whose widths may differ.

    Source: arXiv:2107.08430 (YOLOX), sec. 2.1.

    Args:
        channels: Of every level.
        num_classes: Categories.
        per_cell: Candidates of a cell.
        code_size: Numbers that a box is coded as.
        hidden_dim: Channels of stems and towers.
        num_levels: Levels.
        num_convs: Convolutions of a tower.
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
        num_convs: int = 2,
    ) -> None:
        super().__init__()
        del num_levels
        require_int("model.body.head.hidden_dim", hidden_dim, low=1)
        require_int("model.body.head.num_convs", num_convs, low=0)
        self.num_classes, self.code_size = num_classes, code_size

        def tower() -> nn.Sequential:
            return nn.Sequential(*(conv_norm(hidden_dim, hidden_dim, 3) for _ in range(num_convs)))

        def output(size: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(hidden_dim, per_cell * size, 1) for _ in channels)

        self.stems = nn.ModuleList(conv_norm(width, hidden_dim, 1) for width in channels)
        self.class_towers = nn.ModuleList(tower() for _ in channels)
        self.box_towers = nn.ModuleList(tower() for _ in channels)
        self.class_logits, self.box_code, self.quality = output(num_classes), output(code_size), output(1)
        for part in (*self.class_logits, *self.quality):
            start_at_probability(part, 0.01)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[B, N, C]``, codes ``[B, N, code_size]`` and quality ``[B, N]``, float32, level by level."""
        logits, codes, qualities = [], [], []
        for level, feature in enumerate(maps):
            stem = self.stems[level](feature)
            of_classes, of_boxes = self.class_towers[level](stem), self.box_towers[level](stem)
            with torch.autocast(feature.device.type, enabled=False):  # half-precision logits tie
                logits.append(rows_of(self.class_logits[level](of_classes.float()), self.num_classes))
                codes.append(rows_of(self.box_code[level](of_boxes.float()), self.code_size))
                qualities.append(rows_of(self.quality[level](of_boxes.float()), 1)[..., 0])
        return torch.cat(logits, 1), torch.cat(codes, 1), torch.cat(qualities, 1)
