"""The encoder: deformable self-attention among the cells of all levels."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deta.models.attention.deformable import DeformableAttention
from deta.models.position import encoder_references
from deta.models.query.feedforward import FeedForward, xavier_uniform_matrices
from deta.models.query.tokens import FeatureTokens
from deta.models.region import Region
from deta.structures import Features
from deta.utils.checks import require_bool, require_int, require_number


class QueryEncoder(nn.Module):
    """Base class of what makes a memory of features.

    Attributes:
        hidden_dim: Channels of every token.
        num_levels: Feature levels.
    """

    hidden_dim: int
    num_levels: int

    def forward(self, features: Features) -> FeatureTokens:
        """The encoded image."""
        raise NotImplementedError


class Encoder(QueryEncoder):
    """Post-norm layers of deformable self-attention and feed-forward.

    Source: arXiv:2010.04159, sec. 4.1.

    Args:
        hidden_dim: Channels of every token, even.
        num_levels: Feature levels.
        num_layers: Layers; with 0 the maps stay as they are.
        num_heads: Attention heads.
        num_points: Sampling points of each head and level.
        ffn_dim: Channels inside the feed-forward block.
        dropout: Probability of dropping, 0..1.
        temperature: Of the sine embedding of the image position, see ``map_embedding``.
        is_centred: Likewise.
        checkpoint: Whether a training step keeps the tokens between layers alone and computes the rest of a layer again
            for its gradient: less memory, and one more forward pass of the encoder (arXiv:1604.06174).
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
        temperature: float = 10_000.0,
        is_centred: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=4)
        self.num_levels = require_int("num_levels", num_levels, low=1)
        require_int("num_layers", num_layers, low=0)
        if hidden_dim % 4:
            raise ValueError(f"hidden_dim must be a multiple of 4 (sines and cosines of two axes), got {hidden_dim}")
        self.temperature = require_number("temperature", temperature, low=1)
        self.is_centred = require_bool("is_centred", is_centred)
        self.checkpoint = require_bool("checkpoint", checkpoint)
        self.level_embed = nn.Parameter(torch.empty(num_levels, hidden_dim))
        self.layers = nn.ModuleList(
            EncoderLayer(hidden_dim, num_levels, num_heads, num_points, ffn_dim, dropout) for _ in range(num_layers)
        )
        nn.init.normal_(self.level_embed)

    def forward(self, features: Features) -> FeatureTokens:
        """The encoded image; its ``position`` holds the vector of the level too."""
        memory = FeatureTokens.of(features, temperature=self.temperature, is_centred=self.is_centred)
        tokens = memory.tokens
        position = (memory.position + memory.spread(self.level_embed)).to(tokens.dtype)  # [B, S, D]
        references = encoder_references(memory.centres, memory.valid_ratios)
        for layer in self.layers:
            arguments = (tokens, position, references, memory.spatial_shapes, memory.is_padding)
            is_kept = not (self.checkpoint and torch.is_grad_enabled())
            tokens = layer(*arguments) if is_kept else checkpoint(layer, *arguments, use_reentrant=False)
        return replace(memory, tokens=tokens, position=position)


class EncoderLayer(Region):
    """Deformable self-attention, then feed-forward, each with residual connection and a norm after it."""

    def __init__(
        self, hidden_dim: int, num_levels: int, num_heads: int, num_points: int, ffn_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_dim)
        self.ffn = FeedForward(hidden_dim=hidden_dim, ffn_dim=ffn_dim, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        xavier_uniform_matrices(self)
        self.attention = DeformableAttention(
            hidden_dim=hidden_dim, num_heads=num_heads, num_levels=num_levels, num_points=num_points
        )

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        references: Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        is_padding: Tensor,
    ) -> Tensor:
        """``[B, S, D]`` tokens to the same shape; ``references`` are ``[B, S, L, 2]``."""
        change = self.attention(tokens + position, references, tokens, spatial_shapes, is_padding)
        output: Tensor = self.ffn(self.attention_norm(tokens + self.dropout(change)))
        return output
