"""Query groups: sets of queries that share the decoder, each with a rule of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from deta.models.query.sources import QuerySource
from deta.models.query.tokens import FeatureTokens, Queries
from deta.ops.random import Draw
from deta.structures import Prediction, Targets
from deta.utils.checks import require_bool, require_int

Sees = Literal["own", "main", "all"]


class QueryGroup(nn.Module):
    """Base class of queries beside the main ones, which detect; they exist where there are targets to train them on.

    Attributes:
        only_in_training: Whether they are left out of the losses of validation, too, where there are targets as well.
        sees: Queries that its own may attend to, beside those of their own block (``Queries.block``): none (``own``),
            the ``main`` ones, or ``all`` those of other groups. The main queries never see a group.
        num_copies: Equal parts, one after the other along Q, each of which is assigned for itself.
    """

    only_in_training: bool = False
    sees: Sees = "own"
    num_copies: int = 1

    def forward(
        self,
        source: QuerySource,
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
        targets: Targets,
        draw: Draw,
    ) -> Queries:
        """Queries of a batch.

        Args:
            source: That of the main queries, whose parameters a group may share.
            memory: The encoded image.
            main: The main queries.
            first: The first stage, all of it; None where there is none.
            targets: The objects.
            draw: Source of randomness.

        Returns:
            ``[B, Q, ...]``; Q may be 0 in any batch, such as one without objects.
        """
        raise NotImplementedError


class FurtherQueries(QueryGroup):
    """More queries of the kind that detects.

    One part with every object offered several times is the hybrid branch of H-DETR (arXiv:2207.13080, sec. 4.2); parts
    that are assigned for themselves are those of Group DETR (arXiv:2207.13085, sec. 3).

    Args:
        source: That of the main queries.
        num_queries: Of every part; None is ``times`` as many as detect. Of an image with fewer positions left, every
            part gets an equal share.
        times: See ``num_queries``, at least 1.
        num_copies: Parts, which do not see each other.
        only_in_training: See ``QueryGroup``.
    """

    def __init__(
        self,
        *,
        source: QuerySource,
        num_queries: int | None = None,
        times: int = 1,
        num_copies: int = 1,
        only_in_training: bool = False,
    ) -> None:
        super().__init__()
        self.only_in_training = require_bool("only_in_training", only_in_training)
        times = require_int("times", times, low=1)
        self.num_queries = times * source.most_queries if num_queries is None else num_queries
        require_int("num_queries", self.num_queries, low=1)
        self.num_copies = require_int("num_copies", num_copies, low=1)
        self.vectors = source.vectors(self.num_queries * num_copies)

    def forward(
        self,
        source: QuerySource,
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
        targets: Targets,
        draw: Draw,
    ) -> Queries:
        """The best ones behind the main ones, part by part; nothing is drawn."""
        del targets, draw
        vectors = {name: part.weight for name, part in self.vectors.items() if isinstance(part, nn.Embedding)}
        queries = source.further(self.num_queries * self.num_copies, vectors, memory, main, first)
        of_part = queries.count // self.num_copies
        queries = queries.slice(0, of_part * self.num_copies)
        if self.num_copies == 1:
            return queries
        block = torch.arange(self.num_copies, device=queries.content.device).repeat_interleave(of_part)  # [Q]
        return replace(queries, block=block)


def join(parts: Sequence[Queries]) -> Queries:
    """All queries one after the other along Q.

    Raises:
        ValueError: Some have boxes as references and others points, or some have a position or references and others
            not.
    """
    if len(parts) == 1:
        return parts[0]
    kinds = {(part.position is None, None if part.references is None else part.references.shape[-1]) for part in parts}
    if len(kinds) > 1:
        raise ValueError(
            "the references of all query groups must be boxes, or of all points, and all or none must have a position; "
            "change model.body.source"
        )
    content, position, references = (
        None if getattr(parts[0], name) is None else torch.cat([getattr(part, name) for part in parts], dim=1)
        for name in ("content", "position", "references")
    )
    assert content is not None
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
