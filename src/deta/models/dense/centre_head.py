"""The head of CenterNet: a heat map of every class, and of each cell where the centre lies and how large the box is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.models.dense.head import rows_of, start_at_probability, start_convolutions


class CentreHead(nn.Module):
    """A branch of two convolutions each for heat maps, offsets and sizes.

    Source: arXiv:1904.07850 (CenterNet), sec. 3 and its release.

    Args:
        channels: Of the one level.
        num_classes: Categories.
        per_cell: Candidates of a cell, 1.
        code_size: Numbers that a box is coded as, 4.
        hidden_dim: Channels of the branches.
        num_levels: Levels, 1.
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
    ) -> None:
        super().__init__()
        if (per_cell, code_size, num_levels) != (1, 4, 1):
            raise ValueError("model.body.head CentreHead needs one level, one prior for a cell and a codec of centres")

        def branch(outputs: int) -> nn.Sequential:
            hidden = nn.Conv2d(channels[0], hidden_dim, 3, padding=1)
            return nn.Sequential(hidden, nn.ReLU(), nn.Conv2d(hidden_dim, outputs, 1))

        self.num_classes = num_classes
        self.class_logits, self.offset, self.size = branch(num_classes), branch(2), branch(2)
        for part in (self.offset, self.size):
            start_convolutions(part, std=0.001)
        start_at_probability(self.class_logits[-1], 0.1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, None]:
        """Logits ``[B, N, C]`` and codes ``[B, N, 4]``: offset and size in cells, float32; no quality."""
        (feature,) = maps
        with torch.autocast(feature.device.type, enabled=False):  # half-precision logits tie
            logits, *code = (part(feature.float()) for part in (self.class_logits, self.offset, self.size))
        return rows_of(logits, self.num_classes), rows_of(torch.cat(code, dim=1), 4), None
