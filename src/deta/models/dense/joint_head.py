"""The head of region proposal networks: one tower for classes and boxes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.models.dense.head import rows_of, start_convolutions
from deta.utils.checks import require_int


class JointHead(nn.Module):
    """A tower of convolutions, and a 1x1 convolution each for classes and boxes, shared by all levels.

    Source: arXiv:1506.01497 (Faster R-CNN), sec. 3.1.

    Args:
        channels: Of every level, all equal.
        num_classes: Categories.
        per_cell: Candidates of a cell.
        code_size: Numbers that a box is coded as.
        hidden_dim: Channels of the tower, those of every level.
        num_levels: Levels.
        num_convs: Convolutions of the tower.
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
        num_convs: int = 1,
    ) -> None:
        super().__init__()
        del num_levels
        require_int("num_convs", num_convs, low=1)
        if set(channels) != {hidden_dim}:
            raise ValueError(f"model.neck must make all levels {hidden_dim} channels wide, got {channels}")
        self.num_classes, self.code_size = num_classes, code_size
        self.tower = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1), nn.ReLU()) for _ in range(num_convs))
        )
        self.class_logits = nn.Conv2d(hidden_dim, per_cell * num_classes, 1)
        self.box_code = nn.Conv2d(hidden_dim, per_cell * code_size, 1)
        start_convolutions(self, std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, None]:
        """Logits ``[B, N, C]``, codes ``[B, N, code_size]`` and no quality, float32, level by level."""
        logits, codes = [], []
        for feature in maps:
            hidden = self.tower(feature)
            with torch.autocast(feature.device.type, enabled=False):  # half-precision logits tie
                logits.append(rows_of(self.class_logits(hidden.float()), self.num_classes))
                codes.append(rows_of(self.box_code(hidden.float()), self.code_size))
        return torch.cat(logits, 1), torch.cat(codes, 1), None
