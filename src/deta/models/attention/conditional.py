"""Attention whose content and position have projections of their own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConditionalSelfAttention(nn.Module):
    """Attention among queries; content and position are projected apart and added.

    Source: arXiv:2108.06152 (Conditional DETR), sec. 3.3, and its release.

    Args:
        hidden_dim: Channels, a multiple of ``num_heads``.
        num_heads: Heads.
        dropout: Probability of dropping an attention weight, 0..1.
    """

    def __init__(self, *, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.content_query = nn.Linear(hidden_dim, hidden_dim)
        self.position_query = nn.Linear(hidden_dim, hidden_dim)
        self.content_key = nn.Linear(hidden_dim, hidden_dim)
        self.position_key = nn.Linear(hidden_dim, hidden_dim)
        self.value = nn.Linear(hidden_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, content: Tensor, position: Tensor, is_blocked: Tensor | None) -> tuple[Tensor, Tensor]:
        """Change of the content and the projected queries, both ``[B, Q, D]``."""
        query = self.content_query(content) + self.position_query(position)
        key = self.content_key(content) + self.position_key(position)
        queries, keys, values = (_split(part, self.num_heads) for part in (query, key, self.value(content)))
        dropout = self.dropout if self.training else 0.0
        mask = None if is_blocked is None else ~is_blocked
        change = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
        return self.output(_join(change)), query


class ConditionalCrossAttention(nn.Module):
    """Attention of queries to cells; every head compares content with content beside place with place.

    Source: arXiv:2108.06152 (Conditional DETR), sec. 3.3, eq. 3. Over several levels each has a softmax of its own, and
    the query weighs the levels (arXiv:2203.01305, release, "deformable encoder only").

    Args:
        hidden_dim: Channels, a multiple of ``num_heads``.
        num_heads: Heads.
        num_levels: Feature levels.
        dropout: Probability of dropping an attention weight, 0..1.
        is_first: Whether content is compared with its position added, as in the first layer.
    """

    def __init__(self, *, hidden_dim: int, num_heads: int, num_levels: int, dropout: float, is_first: bool) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.content_query = nn.Linear(hidden_dim, hidden_dim)
        self.position_query = nn.Linear(hidden_dim, hidden_dim) if is_first else None
        self.content_key = nn.Linear(hidden_dim, hidden_dim)
        self.position_key = nn.Linear(hidden_dim, hidden_dim)
        self.sine_query = nn.Linear(hidden_dim, hidden_dim)
        self.value = nn.Linear(hidden_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, hidden_dim)
        self.level_weights = nn.Linear(hidden_dim, num_levels) if num_levels > 1 else None

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        place: Tensor,
        selector: Tensor,
        tokens: Tensor,
        token_position: Tensor,
        is_padding: Tensor,
        level_sizes: Sequence[int],
    ) -> Tensor:
        """Attend from queries to tokens.

        Args:
            content: ``[B, Q, D]``.
            position: ``[B, Q, D]``, added to the content in the first layer.
            place: ``[B, Q, D]`` sine embedding of where a query looks.
            selector: ``[B, Q, D]`` from which a query weighs the levels.
            tokens: ``[B, S, D]``.
            token_position: ``[B, S, D]``.
            is_padding: ``[B, S]`` bool; these tokens are not seen.
            level_sizes: Tokens of every level; they sum to S.

        Returns:
            ``[B, Q, D]`` change of the content.
        """
        query, key = self.content_query(content), self.content_key(tokens)
        key_position = self.position_key(token_position)
        if self.position_query is not None:
            query, key = query + self.position_query(position), key + key_position
        queries = torch.cat([_split(part, self.num_heads) for part in (query, self.sine_query(place))], dim=-1)
        keys = torch.cat([_split(part, self.num_heads) for part in (key, key_position)], dim=-1)  # [B, H, S, 2 D_h]
        values = _split(self.value(tokens), self.num_heads)  # [B, H, S, D_h]
        dropout = self.dropout if self.training else 0.0
        levels: list[Tensor] = []
        for key, value, padding in zip(
            keys.split(level_sizes, dim=2),
            values.split(level_sizes, dim=2),
            is_padding.split(level_sizes, dim=1),
            strict=True,
        ):
            change = functional.scaled_dot_product_attention(
                queries, key, value, attn_mask=~padding[:, None, None], dropout_p=dropout
            )
            levels.append(self.output(_join(change)))
        if self.level_weights is None:
            return levels[0]
        weights: Tensor = self.level_weights(selector).softmax(-1)  # [B, Q, L]
        return (torch.stack(levels, dim=-1) * weights[:, :, None]).sum(-1)  # [B, Q, D]


def _split(tokens: Tensor, num_heads: int) -> Tensor:
    width = tokens.shape[-1] // num_heads
    return tokens.view(*tokens.shape[:2], num_heads, width).transpose(1, 2)  # [B, H, N, D_h]


def _join(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)  # [B, N, D]
