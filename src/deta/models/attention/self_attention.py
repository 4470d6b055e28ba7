"""Attention of queries to each other."""

from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.MultiheadAttention):
    """Attention of every query to all queries, whose values lack the position.

    Source: arXiv:2005.12872 (DETR), sec. A.3. Parameters are those of PyTorch's module, which would project queries and
    keys apart and copy all three between batch and sequence.

    Args:
        hidden_dim: Channels, a multiple of ``num_heads``.
        num_heads: Heads.
        dropout: Probability of dropping an attention weight, 0..1.
    """

    def __init__(self, *, hidden_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(hidden_dim, num_heads, dropout=dropout, batch_first=True)

    def forward(  # type: ignore[override]  # queries and keys are one
        self, located: Tensor, content: Tensor, is_blocked: Tensor | None = None
    ) -> Tensor:
        """Change of the content.

        Args:
            located: ``[B, Q, D]`` content plus position, of which queries and keys are made.
            content: ``[B, Q, D]``, of which values are made.
            is_blocked: ``[Q, Q]`` bool, True where the query of the row must not see the query of the column.

        Returns:
            ``[B, Q, D]``.
        """
        assert self.in_proj_weight is not None
        sizes = (2 * self.embed_dim, self.embed_dim)
        weights, biases = self.in_proj_weight.split(sizes), self.in_proj_bias.split(sizes)
        heads = (self.num_heads, self.head_dim)
        located = functional.linear(located, weights[0], biases[0])  # [B, Q, 2 D]
        parts = (*located.chunk(2, dim=-1), functional.linear(content, weights[1], biases[1]))
        queries, keys, values = (part.unflatten(2, heads).transpose(1, 2) for part in parts)  # [B, H, Q, D_h]
        mask = None if is_blocked is None else ~is_blocked
        dropout = self.dropout if self.training else 0.0
        change = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
        output: Tensor = self.out_proj(change.transpose(1, 2).flatten(2))  # [B, Q, D]
        return output
