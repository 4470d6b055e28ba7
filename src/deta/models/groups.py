"""Query groups: sets of queries that share the decoder and do not see each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deta.structures import GroupSlice


def consecutive_groups(sizes: Sequence[tuple[str, int]]) -> tuple[GroupSlice, ...]:
    """Slices of the Q dimension, one after the other, for ``(name, number of queries)``."""
    groups: list[GroupSlice] = []
    start = 0
    for name, size in sizes:
        groups.append(GroupSlice(name, start, start + size))
        start += size
    return tuple(groups)


def group_mask(groups: Sequence[GroupSlice], device: torch.device) -> Tensor | None:
    """Self-attention mask that keeps the groups apart.

    Returns:
        ``[Q, Q]`` bool, True where the query of the row must not see the query of the column, or None when
        one group holds all queries.
    """
    if len(groups) == 1:
        return None
    owner = torch.cat([torch.full((group.stop - group.start,), i, device=device) for i, group in enumerate(groups)])
    return owner[:, None] != owner[None]
