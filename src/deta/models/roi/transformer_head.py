"""The second stage of TSP-RCNN: regions that attend to each other."""

import math

import torch
from torch import Tensor, nn

from deta.models.position import sine_embedding
from deta.models.query.dense_encoder import DenseEncoderLayer
from deta.models.query.feedforward import MLP, require_heads, xavier_uniform_matrices
from deta.models.roi.base import BaseRegionHead
from deta.models.roi.proposals import Regions
from deta.ops.boxes import to_corners
from deta.utils.checks import require_int

NUM_COORDINATES = 8
"""Of a region: centre and sides, and both corners."""


class TransformerRegionHead(BaseRegionHead):
    """Layers of self-attention over all regions of an image, without a decoder.

    Every class has a box of its own; "no object" has none.

    Source: arXiv:2011.10881 (TSP-RCNN), sec. 4.2, and its release.

    Args:
        num_classes: Categories.
        channels: Of the pooled features.
        resolution: Their height and width.
        width: Channels of a region, a multiple of 16; None is twice ``channels``.
        num_layers: Layers.
        num_heads: Attention heads.
        ffn_dim: Channels inside the feed-forward block; None is four times ``width``.
        dropout: Probability of dropping, 0..1.
        scores: ``softmax`` with "no object", or ``sigmoid`` without it.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        channels: int,
        resolution: int,
        width: int | None = None,
        num_layers: int = 6,
        num_heads: int = 8,
        ffn_dim: int | None = None,
        dropout: float = 0.1,
        scores: str = "softmax",
    ) -> None:
        super().__init__(num_classes=num_classes, scores=scores)
        width = 2 * channels if width is None else require_int("model.body.head.width", width, low=16)
        if width % (2 * NUM_COORDINATES):
            raise ValueError(f"model.body.head.width must be a multiple of {2 * NUM_COORDINATES}, got {width}")
        require_heads(width, num_heads)
        require_int("model.body.head.num_layers", num_layers, low=0)
        self.projection = nn.Linear(channels * resolution**2, width)
        self.position = nn.Linear(width, width)
        self.projection_norm = nn.LayerNorm(width)
        ffn_dim = 4 * width if ffn_dim is None else ffn_dim
        self.layers = nn.ModuleList(
            DenseEncoderLayer(width, num_heads, ffn_dim, dropout, activation="relu", pre_norm=True)
            for _ in range(num_layers)
        )
        xavier_uniform_matrices(self.layers)
        self.norm = nn.LayerNorm(width)
        self.class_logits = nn.Linear(width, self.num_outputs)
        self.box_code = MLP(width, width, width, 4 * num_classes)
        for layer, std in ((self.class_logits, 0.01), (self.box_code.layers[-1], 0.001)):
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor, regions: Regions, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and codes."""
        code = self.coordinates(regions, frame)
        position = sine_embedding(code * 2 * math.pi, self.norm.normalized_shape[0] // NUM_COORDINATES)  # [B, R, width]
        tokens = self.projection_norm(self.projection(pooled.flatten(2)) + self.position(position))
        # Not where an image has no region: a softmax over nothing is NaN.
        is_padding = ~regions.exists & regions.exists.any(1, keepdim=True)
        for layer in self.layers:
            tokens = layer(tokens, position.to(tokens.dtype), is_padding)
        tokens = self.norm(tokens)
        with torch.autocast(pooled.device.type, enabled=False):
            tokens = tokens.float()
            return self.class_logits(tokens), self.box_code(tokens).unflatten(2, (-1, 4))  # [B, R, C, 4]

    def coordinates(self, regions: Regions, frame: Tensor) -> Tensor:
        """``[B, R, 8]`` centre, sides and corners of regions, relative to the unpadded image; 0 where there is none."""
        boxes = regions.boxes / frame[:, None]
        return torch.cat((boxes, to_corners(boxes)), dim=-1)
