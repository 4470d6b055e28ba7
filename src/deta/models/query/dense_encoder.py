"""The encoder of DETR: every cell attends to all cells of one level."""

from dataclasses import replace

from torch import Tensor, nn

from deta.models.query.encoder import QueryEncoder
from deta.models.query.feedforward import MLP, FeedForward, add_change, require_heads, xavier_uniform_matrices
from deta.models.query.tokens import FeatureTokens
from deta.models.region import Region
from deta.structures import Features
from deta.utils.checks import require_bool, require_int, require_number


class DenseEncoder(QueryEncoder):
    """Layers of self-attention and feed-forward over one feature map.

    Source: arXiv:2005.12872 (DETR), sec. A.3; ``scale_position`` is of arXiv:2201.12329 (DAB-DETR), release.

    Args:
        hidden_dim: Channels of every token, a multiple of 4.
        num_layers: Layers; with 0 the map stays as it is.
        num_heads: Attention heads.
        ffn_dim: Channels inside the feed-forward block.
        dropout: Probability of dropping, 0..1.
        activation: See ``FeedForward``.
        pre_norm: Whether norms stand before the blocks, and one behind the last layer.
        temperature: Of the sine embedding of the image position, see ``map_embedding``.
        scale_position: Whether the position is multiplied by a function of the tokens in every layer.
    """

    num_levels = 1

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_layers: int = 6,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        pre_norm: bool = False,
        temperature: float = 10_000.0,
        scale_position: bool = False,
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=4)
        require_int("num_layers", num_layers, low=0)
        require_heads(hidden_dim, num_heads)
        self.temperature = require_number("temperature", temperature, low=1)
        require_bool("pre_norm", pre_norm)
        self.layers = nn.ModuleList(
            DenseEncoderLayer(hidden_dim, num_heads, ffn_dim, dropout, activation=activation, pre_norm=pre_norm)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim) if pre_norm else None
        self.position_scale = MLP(hidden_dim, hidden_dim, hidden_dim) if scale_position else None
        xavier_uniform_matrices(self)

    def forward(self, features: Features) -> FeatureTokens:
        """The encoded image."""
        memory = FeatureTokens.of(features, temperature=self.temperature, is_centred=False)
        tokens, position = memory.tokens, memory.position.to(memory.tokens.dtype)
        for layer in self.layers:
            scaled = position if self.position_scale is None else position * self.position_scale(tokens)
            tokens = layer(tokens, scaled, memory.is_padding)
        return replace(memory, tokens=tokens if self.norm is None else self.norm(tokens))


class DenseEncoderLayer(Region):
    """Self-attention, then feed-forward, each with residual connection and a norm."""

    def __init__(
        self, hidden_dim: int, num_heads: int, ffn_dim: int, dropout: float, *, activation: str, pre_norm: bool
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout=dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(hidden_dim)
        self.ffn = FeedForward(
            hidden_dim=hidden_dim, ffn_dim=ffn_dim, dropout=dropout, activation=activation, pre_norm=pre_norm
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, position: Tensor, is_padding: Tensor) -> Tensor:
        """``[B, S, D]`` tokens to the same shape."""

        def attend(tokens: Tensor) -> Tensor:
            located = tokens + position
            change: Tensor = self.attention(located, located, tokens, key_padding_mask=is_padding, need_weights=False)[
                0
            ]
            return change

        tokens = add_change(tokens, attend, self.attention_norm, self.dropout, pre_norm=self.pre_norm)
        output: Tensor = self.ffn(tokens)
        return output
