"""The head of CenterNet: a heat map of every class, and of each cell where the centre lies and how large the box is."""

import torch
from torch import Tensor, nn

from deta.models.dense.base import HeadShape, LevelHead, start_at_probability, start_convolutions


class CentreHead(LevelHead):
    """A branch of two convolutions each for heat maps, offsets and sizes.

    Source: arXiv:1904.07850 (CenterNet), sec. 3 and its release.

    Args:
        shape: What the body tells: one level, one candidate in a cell, codes of offset and size.
    """

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape)
        if (shape.per_cell, shape.code_size, len(shape.channels)) != (1, 4, 1):
            raise ValueError(
                "model.body.head CentreHead needs one level (model.neck), one prior for a cell (model.body.priors) and "
                "a codec of centres (model.body.codec)"
            )

        def branch(outputs: int) -> nn.Sequential:
            hidden = nn.Conv2d(shape.channels[0], shape.hidden_dim, 3, padding=1)
            return nn.Sequential(hidden, nn.ReLU(), nn.Conv2d(shape.hidden_dim, outputs, 1))

        self.class_logits, self.offset, self.size = branch(shape.num_classes), branch(2), branch(2)
        for part in (self.offset, self.size):
            start_convolutions(part, std=0.001)
        start_at_probability(self.class_logits[-1], 0.1)

    def predict(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, None]:
        """Logits and codes, offset and size in cells, of the one level."""
        del level
        with torch.autocast(feature.device.type, enabled=False):
            feature = feature.float()
            code = torch.cat((self.offset(feature), self.size(feature)), dim=1)  # [B, 4, h, w]
            return self.class_logits(feature), code, None
