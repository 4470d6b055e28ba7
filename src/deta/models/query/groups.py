"""Query groups: sets of queries that share the decoder, each with a rule of its own."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from deta.models.query.sources import QuerySource
from deta.models.query.tokens import FeatureTokens, Queries
from deta.ops.random import Draw
from deta.structures import Targets

Sees = Literal["own", "main", "all"]


class QueryGroup(nn.Module):
    """Base class of queries beside the main ones, which detect; they exist where there are targets to train them on.

    Attributes:
        sees: Queries that its own may attend to: of their ``own`` group, of the ``main`` one too, or ``all``.
    """

    sees: Sees = "own"

    def forward(
        self, source: QuerySource, memory: FeatureTokens, main: Queries, targets: Targets, draw: Draw
    ) -> Queries:
        """Queries of a batch.

        Args:
            source: That of the main queries, whose parameters a group may share.
            memory: The encoded image.
            main: The main queries.
            targets: The objects.
            draw: Source of randomness.

        Returns:
            ``[B, Q, ...]``; Q may be 0 in any batch, such as one without objects.
        """
        raise NotImplementedError


def join(parts: Sequence[Queries]) -> Queries:
    """All queries one after the other along Q.

    Raises:
        ValueError: Some have boxes as references and others points.
    """
    if len(parts) == 1:
        return parts[0]
    sizes = {part.references.shape[-1] for part in parts}
    if len(sizes) > 1:
        raise ValueError("the references of all query groups must be boxes, or of all points; change model.body.source")
    content, position, references = (
        torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("content", "position", "references")
    )
    return Queries(content, position, references)


def attention_mask(parts: Mapping[str, Queries], sees: Mapping[str, Sees]) -> Tensor | None:
    """Self-attention mask of all groups.

    Args:
        parts: Queries by role, the main ones first.
        sees: What the queries of a further group see, by its role.

    Returns:
        ``[Q, Q]`` bool, True where the query of the row must not see the query of the column, or None where every
        query sees all others. A query always sees its own block.
    """
    if len(parts) == 1 and all(part.block is None for part in parts.values()):
        return None
    owner, block = [], []
    for place, part in enumerate(parts.values()):
        own = torch.full_like(part.content[0, :, 0], place, dtype=torch.int64)  # [Q]
        owner.append(own)
        block.append(torch.zeros_like(own) if part.block is None else part.block)
    owners, blocks = torch.cat(owner), torch.cat(block)
    is_own = owners[:, None] == owners[None]  # [Q, Q]
    visible = is_own & (blocks[:, None] == blocks[None])  # [Q, Q]
    for place, role in enumerate(parts):
        seen = sees.get(role, "own")
        if seen != "own":
            is_seen = owners == 0 if seen == "main" else torch.ones_like(owners, dtype=torch.bool)
            visible = visible | ((owners == place)[:, None] & is_seen[None] & ~is_own)  # [Q, Q]
    return ~visible
