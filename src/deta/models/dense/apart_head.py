"""The first stage of TSP-RCNN: two towers whose norms are those of a level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.models.dense.head import rows_of, start_convolutions
from deta.utils.checks import require_int


class ApartHead(nn.Module):
    """A tower each for classes and boxes; convolutions serve all levels, batch norms one each.

    Source: arXiv:2011.10881 (TSP-RCNN), release.

    Args:
        channels: Of every level, all equal.
        num_classes: Categories.
        per_cell: Candidates of a cell.
        code_size: Numbers that a box is coded as.
        hidden_dim: Channels of the towers, those of every level.
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
        require_int("num_convs", num_convs, low=1)
        if set(channels) != {hidden_dim}:
            raise ValueError(f"model.neck must make all levels {hidden_dim} channels wide, got {channels}")
        self.num_classes, self.code_size = num_classes, code_size
        self.class_tower, self.box_tower = (_Tower(hidden_dim, num_levels, num_convs) for _ in range(2))
        self.class_logits = nn.Conv2d(hidden_dim, per_cell * num_classes, 1)
        self.box_code = nn.Conv2d(hidden_dim, per_cell * code_size, 1)
        start_convolutions(self, std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, None]:
        """Logits ``[B, N, C]``, codes ``[B, N, code_size]`` and no quality, float32, level by level."""
        logits, codes = [], []
        for level, feature in enumerate(maps):
            of_classes, of_boxes = self.class_tower(feature, level), self.box_tower(feature, level)
            with torch.autocast(feature.device.type, enabled=False):  # half-precision logits tie
                logits.append(rows_of(self.class_logits(of_classes.float()), self.num_classes))
                codes.append(rows_of(self.box_code(of_boxes.float()), self.code_size))
        return torch.cat(logits, 1), torch.cat(codes, 1), None


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
