"""The first stage: encoder positions propose boxes, and the best become queries."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deta.models.position import box_embedding
from deta.models.query.anchors import encoder_anchors
from deta.models.query.feedforward import xavier_uniform_matrices
from deta.models.query.heads import PredictionHead
from deta.models.query.labels import LabelEmbedding
from deta.models.query.selection import Selection
from deta.models.query.sources import QuerySource
from deta.models.query.tokens import FeatureTokens, Queries
from deta.ops.random import Draw
from deta.ops.rows import take_rows
from deta.ops.sizes import smaller
from deta.structures import Prediction
from deta.utils.checks import require_bool, require_callable, require_choice, require_int, require_number

CONTENTS = ("features", "position", "learned", "tokens")


class DecreasingCount:
    """A number of queries that falls linearly with the epochs. Source: arXiv:2104.01318 (Efficient DETR), sec. 4.

    Args:
        start: In the first epoch.
        end: From epoch ``epochs`` on, and wherever nothing is trained; at most ``start``.
        epochs: After how many, at least 1.
    """

    def __init__(self, *, start: int, end: int, epochs: int) -> None:
        self.start = require_int("num_queries.start", start, low=1)
        self.end = require_int("num_queries.end", end, low=1, high=start)
        self.epochs = require_int("num_queries.epochs", epochs, low=1)

    def at(self, epoch: int | None) -> int:
        """The number in an epoch; None is after training."""
        passed = self.epochs if epoch is None else min(epoch, self.epochs)
        return self.start - (self.start - self.end) * passed // self.epochs


class EncoderProposals(QuerySource):
    """First stage: every encoder position proposes a box, and the chosen ones become queries.

    Source: arXiv:2212.06137, sec. 4; arXiv:2010.04159, sec. 4.2 and appendix A.4; arXiv:2203.03605 (DINO), sec. 3.4
    (``content=learned``, ``score=best_class``, ``supervise=selected``); arXiv:2207.13080 (H-DETR); arXiv:2104.01318
    (Efficient DETR). Differs from all releases: padded positions and anchors at the border are chosen only when there
    are too few others, and an image with fewer positions than ``num_queries`` gets one query for each.

    Args:
        hidden_dim: Channels, a multiple of 4.
        num_queries: Queries, or a number that falls with the epochs.
        selection: Which positions become queries.
        num_classes: Outputs of the class head. 1 is foreground alone; the number of categories gives the layout of the
            published checkpoints.
        score: What the selection ranks by: ``first_channel`` of the logits, or ``best_class``.
        supervise: Which positions are trained: ``all``, or the ``selected`` alone.
        anchor_scale: Width and height of an initial box on the finest level, as fraction of the image.
        anchor_growth: Factor on them from one level to the next.
        content: What a query starts with. ``features``: its position and the features there. ``position``: its
            position alone, as in two-stage Deformable DETR. ``learned``: a vector of its rank. ``tokens``: the encoded
            token there, with its gradient.
        position: ``boxes``: made of the chosen box; ``none``: the decoder makes it.
        start_small: Whether learned content starts by Xavier, as in DINO, else as wide as a unit normal.
        labels: For queries that are made of objects.
    """

    reference_size = 4
    has_first_stage = True

    def __init__(
        self,
        *,
        hidden_dim: int,
        selection: Selection,
        num_queries: int | DecreasingCount = 900,
        num_classes: int = 1,
        score: str = "first_channel",
        supervise: str = "all",
        anchor_scale: float = 0.05,
        anchor_growth: float = 2.0,
        content: str = "features",
        position: str = "boxes",
        start_small: bool = False,
        labels: LabelEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=4)
        if hidden_dim % 4:
            raise ValueError(f"hidden_dim must be a multiple of 4 (sines and cosines of boxes), got {hidden_dim}")
        if not isinstance(num_queries, DecreasingCount):
            require_int("num_queries", num_queries, low=1)
        self.num_queries = num_queries
        self.score = require_choice("score", score, ("first_channel", "best_class"))
        self.supervise = require_choice("supervise", supervise, ("all", "selected"))
        self.anchor_scale = require_number("anchor_scale", anchor_scale, low=0, high=1)
        self.anchor_growth = require_number("anchor_growth", anchor_growth, low=0)
        self.kind = require_choice("content", content, CONTENTS)
        self.has_position = require_choice("position", position, ("boxes", "none")) == "boxes"
        self.has_spare_position = self.has_position and content in ("learned", "tokens")
        require_callable("selection", selection)
        self.selection = selection
        self._make_projections()
        xavier_uniform_matrices(self)
        self.content = nn.Embedding(self.most_queries, hidden_dim) if content == "learned" else None
        if self.content is not None and require_bool("start_small", start_small):
            xavier_uniform_matrices(self.content)
        self.labels = labels
        self.head = PredictionHead(hidden_dim=hidden_dim, num_classes=num_classes)

    def _make_projections(self) -> None:
        width = self.hidden_dim
        self.memory_projection = nn.Linear(width, width)
        self.memory_norm = nn.LayerNorm(width)
        if not self.has_position and self.kind in ("features", "position"):
            raise ValueError(f"model.body.source.content={self.kind} is made of the position: set position=boxes")
        if self.has_position:
            # As published: content and position come of one projection, also where content is made otherwise.
            outputs = width if self.kind == "tokens" else 2 * width
            self.position_projection = nn.Linear(2 * width, outputs)
            self.position_norm = nn.LayerNorm(outputs)
        if self.kind == "features":
            self.content_projection = nn.Linear(width, width)
            self.content_norm = nn.LayerNorm(width)

    @property
    def most_queries(self) -> int:
        """Those of the first epoch."""
        return self.num_queries if isinstance(self.num_queries, int) else self.num_queries.start

    def count(self, draw: Draw | None = None) -> int:
        """The number of queries, in training that of the epoch."""
        if isinstance(self.num_queries, int):
            return self.num_queries
        return self.num_queries.at(None if draw is None else draw.epoch)

    def forward(self, memory: FeatureTokens, draw: Draw | None = None) -> tuple[Queries, Prediction]:
        """The best boxes as queries, detached from what proposed them, and all ``[B, S]`` boxes as first stage."""
        anchors, is_valid = encoder_anchors(memory, self.anchor_scale, self.anchor_growth)
        features = self.project(memory.tokens, is_valid)
        # The logit of an anchor that is not valid is infinite: its box stays (1, 1, 1, 1) and has no gradient.
        first = Prediction(
            self.head.logits(features),
            self.head.boxes(features, anchors.logit()),
            anchors,
            may_match=is_valid,
            grid=tuple((height, width, 1) for height, width in memory.spatial_shapes),
            levels=memory.levels(),
            strides=memory.strides_of_tokens(),
        )
        selected = self._select(first, None, memory, smaller(self.count(draw), anchors.shape[1]))
        learned = None if self.content is None else self.content.weight
        return self._queries(take_rows(features, selected), memory, first, selected, learned), first

    def project(self, tokens: Tensor, is_valid: Tensor) -> Tensor:
        """``[B, S, D]`` features of the first stage; tokens that are not valid count as zero."""
        known = tokens.masked_fill(~is_valid[..., None], 0.0)
        features: Tensor = self.memory_norm(self.memory_projection(known))
        return features

    def vectors(self, count: int) -> nn.ModuleDict:
        """Content where it is learned."""
        return nn.ModuleDict({"content": nn.Embedding(count, self.hidden_dim)} if self.kind == "learned" else {})

    def further(
        self,
        count: int,
        vectors: Mapping[str, Tensor],
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
    ) -> Queries:
        """The best of the positions that the main queries have left."""
        assert first is not None
        assert first.may_match is not None
        assert main.source is not None
        is_left = torch.ones_like(first.may_match).scatter(1, main.source, False)  # [B, S]
        count = min(count, is_left.shape[1] - main.count)
        selected = self._select(first, is_left, memory, count)
        is_valid = first.may_match.gather(1, selected)
        features = self.project(take_rows(memory.tokens, selected), is_valid)
        return self._queries(features, memory, first, selected, vectors.get("content"))

    def supervised(self, first: Prediction, main: Queries) -> Prediction:
        """All positions, or those that became the main queries."""
        assert main.source is not None
        return first.take(main.source) if self.supervise == "selected" else first

    def position_of(self, references: Tensor) -> Tensor | None:
        """``[B, Q, D]`` of the boxes, where the decoder does not make it."""
        return self._projected(references)[0] if self.has_position else None

    def _projected(self, references: Tensor) -> tuple[Tensor, Tensor | None]:
        """Position and, where the projection is wide enough for both, content."""
        embedding = box_embedding(references, self.hidden_dim // 2)  # [B, Q, 2 D]
        both: Tensor = self.position_norm(self.position_projection(embedding))
        position, *others = both.split(self.hidden_dim, dim=-1)
        return position, others[0] if others else None

    def _select(self, first: Prediction, is_left: Tensor | None, memory: FeatureTokens, count: int) -> Tensor:
        """``[B, count]`` positions, of those that are left."""
        assert first.may_match is not None
        logits = first.logits.detach()
        scores = logits[..., 0] if self.score == "first_channel" else logits.amax(-1)
        is_valid = first.may_match
        if is_left is not None:
            scores, is_valid = scores.masked_fill(~is_left, -torch.inf), is_valid & is_left
        return self.selection(scores.float(), first.boxes.detach(), is_valid, memory.level_sizes(), count)

    def _queries(
        self, features: Tensor, memory: FeatureTokens, first: Prediction, source: Tensor, learned: Tensor | None
    ) -> Queries:
        references = take_rows(first.boxes, source).detach()  # [B, Q, 4]
        position, content = self._projected(references) if self.has_position else (None, None)
        if self.kind == "features":
            content = content + self.content_norm(self.content_projection(features.detach()))
        elif self.kind == "learned":
            assert learned is not None
            content = learned[: source.shape[1]].expand(source.shape[0], -1, -1)  # [B, Q, D]
        elif self.kind == "tokens":
            assert first.may_match is not None
            is_known = first.may_match.gather(1, source)[..., None]  # [B, Q, 1]
            content = take_rows(memory.tokens, source).masked_fill(~is_known, 0.0)
        assert content is not None
        return Queries(content, position, references, source)
