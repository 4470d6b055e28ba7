"""The decoder of DETR: queries attend to every cell, and boxes come from the content alone."""

from torch import Tensor, nn

from deta.models.attention.self_attention import SelfAttention
from deta.models.query.decoder import QueryDecoder
from deta.models.query.feedforward import FeedForward, add_change, xavier_uniform_matrices
from deta.models.query.tokens import FeatureTokens
from deta.models.region import Region
from deta.utils.checks import require_bool


class DenseDecoder(QueryDecoder):
    """Layers of self-attention, cross-attention to all cells of one level, and feed-forward; no references.

    Source: arXiv:2005.12872 (DETR), sec. A.3.

    Args:
        hidden_dim: Channels of every token.
        num_layers: Layers, at least 1; all share one head.
        num_heads: Attention heads.
        ffn_dim: Channels inside the feed-forward block.
        dropout: Probability of dropping, 0..1.
        pre_norm: Whether norms stand before the blocks.
    """

    reference_sizes = (0,)

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_layers: int = 6,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dropout: float = 0.1,
        pre_norm: bool = False,
    ) -> None:
        super().__init__(hidden_dim=hidden_dim, num_levels=1, num_layers=num_layers, num_heads=num_heads)
        require_bool("pre_norm", pre_norm)
        self.layers = nn.ModuleList(
            DenseDecoderLayer(hidden_dim, num_heads, ffn_dim, dropout, pre_norm=pre_norm) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
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
        """Queries look at every cell."""
        assert position is not None
        output: Tensor = self.layers[index](content, position, memory, is_blocked)
        return output


class DenseDecoderLayer(Region):
    """Self-attention, cross-attention, feed-forward, each with residual connection and a norm."""

    def __init__(self, hidden_dim: int, num_heads: int, ffn_dim: int, dropout: float, *, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attention = SelfAttention(hidden_dim=hidden_dim, num_heads=num_heads, dropout=dropout)
        self.self_attention_norm = nn.LayerNorm(hidden_dim)
        self.cross_attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout=dropout, batch_first=True)
        self.cross_attention_norm = nn.LayerNorm(hidden_dim)
        self.ffn = FeedForward(hidden_dim=hidden_dim, ffn_dim=ffn_dim, dropout=dropout, pre_norm=pre_norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, content: Tensor, position: Tensor, memory: FeatureTokens, is_blocked: Tensor | None) -> Tensor:
        """``[B, Q, D]`` content to the same shape."""
        keys = memory.tokens + memory.position.to(memory.tokens.dtype)

        def among_queries(content: Tensor) -> Tensor:
            change: Tensor = self.self_attention(content + position, content, is_blocked)
            return change

        def to_image(content: Tensor) -> Tensor:
            change: Tensor = self.cross_attention(
                content + position, keys, memory.tokens, key_padding_mask=memory.is_padding, need_weights=False
            )[0]
            return change

        content = add_change(content, among_queries, self.self_attention_norm, self.dropout, pre_norm=self.pre_norm)
        content = add_change(content, to_image, self.cross_attention_norm, self.dropout, pre_norm=self.pre_norm)
        output: Tensor = self.ffn(content)
        return output
