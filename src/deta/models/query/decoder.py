"""The decoder: queries attend to each other and to the encoded image, and boxes are refined."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.models.attention.deformable import DeformableAttention
from deta.models.query.feedforward import FeedForward, xavier_uniform_matrices
from deta.models.query.heads import PredictionHead
from deta.models.query.tokens import FeatureTokens, Queries
from deta.ops.logit import inverse_sigmoid
from deta.structures import Prediction
from deta.utils.checks import require_choice, require_int


class Decoder(nn.Module):
    """Post-norm layers of self-attention, deformable cross-attention and feed-forward.

    Source: arXiv:2010.04159, sec. 4.1 and appendix A.3 (iterative bounding box refinement).

    Args:
        hidden_dim: Channels of every token.
        num_levels: Feature levels.
        num_layers: Layers, at least 1.
        num_heads: Attention heads.
        num_points: Sampling points of each head and level.
        ffn_dim: Channels inside the feed-forward block.
        dropout: Probability of dropping, 0..1.
        refine: ``iterative``: every layer moves the detached boxes of the layer before it. ``none``: every
            layer starts from the first references, and all layers share one head.
    """

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_levels: int,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        refine: str = "iterative",
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_levels = require_int("num_levels", num_levels, low=1)
        self.num_layers = require_int("num_layers", num_layers, low=1)
        require_int("num_heads", num_heads, low=1)
        if hidden_dim % num_heads:
            raise ValueError(f"hidden_dim must be a multiple of num_heads, got {hidden_dim} and {num_heads}")
        self.refine = require_choice("refine", refine, ("iterative", "none"))
        self.layers = nn.ModuleList(
            DecoderLayer(hidden_dim, num_levels, num_heads, num_points, ffn_dim, dropout) for _ in range(num_layers)
        )

    def forward(
        self,
        queries: Queries,
        memory: FeatureTokens,
        heads: Sequence[PredictionHead],
        is_blocked: Tensor | None = None,
    ) -> tuple[Prediction, ...]:
        """Predictions of every layer.

        Args:
            queries: Where to start; a gradient through its references reaches the first layer alone.
            memory: The encoded image.
            heads: One for every layer; a head may serve several layers.
            is_blocked: ``[Q, Q]`` bool, True where the query of the row must not see the query of the column.

        Returns:
            One prediction per layer.
        """
        ratios = memory.valid_ratios
        content, references = queries.content, queries.references
        predictions = []
        for layer, head in zip(self.layers, heads, strict=True):
            scale = ratios if references.shape[-1] == 2 else torch.cat((ratios, ratios), dim=-1)
            content = layer(content, queries.position, references[:, :, None] * scale[:, None], memory, is_blocked)
            boxes = head.boxes(content, inverse_sigmoid(references))
            # A point has no overlap with anything: in its place stands the box predicted from it.
            priors = references.detach() if references.shape[-1] == 4 else boxes.detach()
            predictions.append(Prediction(head.logits(content), boxes, priors))
            if self.refine == "iterative":
                references = boxes.detach()
        return tuple(predictions)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward, each with residual connection and a norm after it."""

    def __init__(
        self, hidden_dim: int, num_levels: int, num_heads: int, num_points: int, ffn_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout=dropout, batch_first=True)
        self.self_attention_norm = nn.LayerNorm(hidden_dim)
        self.cross_attention_norm = nn.LayerNorm(hidden_dim)
        self.ffn = FeedForward(hidden_dim=hidden_dim, ffn_dim=ffn_dim, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        xavier_uniform_matrices(self)
        self.cross_attention = DeformableAttention(
            hidden_dim=hidden_dim, num_heads=num_heads, num_levels=num_levels, num_points=num_points
        )

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        references: Tensor,
        memory: FeatureTokens,
        is_blocked: Tensor | None,
    ) -> Tensor:
        """``[B, Q, D]`` content to the same shape; ``references`` are ``[B, Q, L, 2 or 4]``."""
        located = content + position
        change, _ = self.self_attention(located, located, content, attn_mask=is_blocked, need_weights=False)
        content = self.self_attention_norm(content + self.dropout(change))
        change = self.cross_attention(
            content + position, references, memory.tokens, memory.spatial_shapes, memory.is_padding
        )
        output: Tensor = self.ffn(self.cross_attention_norm(content + self.dropout(change)))
        return output
