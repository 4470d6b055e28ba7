"""Attention of queries to each other."""

from torch import Tensor, nn


class SelfAttention(nn.MultiheadAttention):
    """Attention of every query to all queries, whose values lack the position.

    Source: arXiv:2005.12872 (DETR), sec. A.3. Parameters and arithmetic are those of PyTorch's module: with queries and
    keys in one product, or without copies between batch and sequence, a training parts from its record in four steps.

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
        change: Tensor = super().forward(located, located, content, attn_mask=is_blocked, need_weights=False)[0]
        return change
