"""The decoder of Conditional DETR and of DAB-DETR: where a query looks is compared apart from what it looks for."""

import torch
from torch import Tensor, nn

from deta.models.attention.conditional import ConditionalCrossAttention, ConditionalSelfAttention
from deta.models.position import reference_embedding
from deta.models.query.decoder import QueryDecoder
from deta.models.query.feedforward import MLP, FeedForward, xavier_uniform_matrices
from deta.models.query.tokens import FeatureTokens
from deta.models.region import Region
from deta.utils.checks import require_bool


class ConditionalDecoder(QueryDecoder):
    """Post-norm layers of self-attention, conditional cross-attention to every cell, and feed-forward.

    Source: arXiv:2108.06152 (Conditional DETR), sec. 3; arXiv:2201.12329 (DAB-DETR), sec. 4, with
    ``position=references`` and ``modulate``.

    Args:
        hidden_dim: Channels of every token.
        num_levels: Feature levels.
        num_layers: Layers, at least 1.
        num_heads: Attention heads.
        ffn_dim: Channels inside the feed-forward block.
        dropout: Probability of dropping, 0..1.
        activation: See ``FeedForward``.
        refine: See ``QueryDecoder``.
        position: Of the queries: ``queries``, as they come, or ``references``, made in every layer of its boxes.
        modulate: Whether the place is compared in units of the reference's width and height, which must be boxes.
        logit_eps: See ``QueryDecoder``.
    """

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_levels: int = 1,
        num_layers: int = 6,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        activation: str = "relu",
        refine: str = "none",
        position: str = "queries",
        modulate: bool = False,
        logit_eps: float = 1e-5,
    ) -> None:
        super().__init__(
            hidden_dim=hidden_dim,
            num_levels=num_levels,
            num_layers=num_layers,
            num_heads=num_heads,
            refine=refine,
            position=position,
            logit_eps=logit_eps,
        )
        self.reference_sizes = (4,) if self.makes_position or modulate else (2, 4)
        self.layers = nn.ModuleList(
            ConditionalLayer(
                hidden_dim, num_levels, num_heads, ffn_dim, dropout, activation=activation, is_first=index == 0
            )
            for index in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.position_scale = MLP(hidden_dim, hidden_dim, hidden_dim)
        # Four coordinates of half the channels each go in.
        self.position_head = MLP(2 * hidden_dim, hidden_dim, hidden_dim) if self.makes_position else None
        self.modulation = MLP(hidden_dim, hidden_dim, 2) if require_bool("modulate", modulate) else None
        xavier_uniform_matrices(self)

    def attend(
        self,
        index: int,
        content: Tensor,
        position: Tensor | None,
        references: Tensor | None,
        memory: FeatureTokens,
        is_blocked: Tensor | None,
    ) -> Tensor:
        """Queries look for what lies around their references, at a scale that their content gives."""
        assert references is not None
        embedding = reference_embedding(references, self.hidden_dim // 2).to(content.dtype)  # [B, Q, D or 2 D]
        if self.position_head is not None:
            position = self.position_head(embedding)
        assert position is not None
        place = embedding[..., : self.hidden_dim]  # [B, Q, D], of y and of x
        if index > 0:
            place = place * self.position_scale(content)
        if self.modulation is not None:
            # Half precision would overflow where a box is thin.
            width_height = self.modulation(content).float().sigmoid() / references[..., 2:]
            rows, columns = place.chunk(2, dim=-1)
            place = torch.cat((rows * width_height[..., 1:], columns * width_height[..., :1]), dim=-1)
        output: Tensor = self.layers[index](content, position, place.to(content.dtype), memory, is_blocked)
        return output


class ConditionalLayer(Region):
    """Self-attention, cross-attention, feed-forward, each with residual connection and a norm after it."""

    def __init__(
        self,
        hidden_dim: int,
        num_levels: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        *,
        activation: str,
        is_first: bool,
    ) -> None:
        super().__init__()
        self.self_attention = ConditionalSelfAttention(hidden_dim=hidden_dim, num_heads=num_heads, dropout=dropout)
        self.self_attention_norm = nn.LayerNorm(hidden_dim)
        self.cross_attention = ConditionalCrossAttention(
            hidden_dim=hidden_dim, num_heads=num_heads, num_levels=num_levels, dropout=dropout, is_first=is_first
        )
        self.cross_attention_norm = nn.LayerNorm(hidden_dim)
        self.ffn = FeedForward(hidden_dim=hidden_dim, ffn_dim=ffn_dim, dropout=dropout, activation=activation)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, content: Tensor, position: Tensor, place: Tensor, memory: FeatureTokens, is_blocked: Tensor | None
    ) -> Tensor:
        """``[B, Q, D]`` content to the same shape; ``place`` is the ``[B, Q, D]`` embedding of where it looks."""
        change, selector = self.self_attention(content, position, is_blocked)
        content = self.self_attention_norm(content + self.dropout(change))
        change = self.cross_attention(
            content,
            position,
            place,
            selector,
            memory.tokens,
            memory.position.to(memory.tokens.dtype),
            memory.is_padding,
            memory.level_sizes(),
        )
        output: Tensor = self.ffn(self.cross_attention_norm(content + self.dropout(change)))
        return output
