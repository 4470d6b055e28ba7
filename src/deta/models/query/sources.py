"""Where queries come from: learned vectors, or the first stage's best boxes."""

from torch import Tensor, nn

from deta.models.position import box_embedding
from deta.models.query.anchors import encoder_anchors
from deta.models.query.feedforward import xavier_uniform_matrices
from deta.models.query.heads import Float32Linear, PredictionHead
from deta.models.query.selection import Selection
from deta.models.query.tokens import FeatureTokens, Queries
from deta.ops.rows import take_rows
from deta.structures import Prediction
from deta.utils.checks import require_callable, require_choice, require_int, require_number


class QuerySource(nn.Module):
    """Base class of what starts the decoder.

    Attributes:
        hidden_dim: Channels of the queries.
        reference_size: 4 when references are boxes, 2 when they are points.
        has_first_stage: Whether it predicts boxes, of which queries are made.
    """

    hidden_dim: int
    reference_size: int
    has_first_stage: bool = False

    def forward(self, memory: FeatureTokens) -> tuple[Queries, Prediction | None]:
        """Queries for every image and, with a first stage, its output."""
        raise NotImplementedError


class LearnedQueries(QuerySource):
    """The same learned queries for every image.

    Source: arXiv:2010.04159, sec. 4.1; references are a linear function of the query's position.

    Args:
        hidden_dim: Channels.
        num_queries: Queries.
        reference_size: 2 for points, as published; 4 for boxes.
    """

    def __init__(self, *, hidden_dim: int, num_queries: int = 300, reference_size: int = 2) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_queries = require_int("num_queries", num_queries, low=1)
        if reference_size not in (2, 4):
            raise ValueError(f"reference_size must be 2 (points) or 4 (boxes), got {reference_size!r}")
        self.reference_size = reference_size
        self.query_embed = nn.Embedding(num_queries, 2 * hidden_dim)
        self.reference_points = Float32Linear(hidden_dim, reference_size)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    def forward(self, memory: FeatureTokens) -> tuple[Queries, Prediction | None]:
        """``[B, Q, ...]`` queries that no image has changed; there is no first stage."""
        position, content = self.query_embed.weight.expand(len(memory.tokens), -1, -1).chunk(2, dim=-1)  # [B, Q, D]
        references = self.reference_points(position).sigmoid()
        return Queries(content, position, references), None


class EncoderProposals(QuerySource):
    """First stage: every encoder position proposes a box, and the chosen ones become queries.

    Source: arXiv:2212.06137, sec. 4; arXiv:2010.04159, sec. 4.2 and appendix A.4. Differs from both
    releases: padded positions and anchors at the border are chosen only when there are too few others, and an
    image with fewer positions than ``num_queries`` gets one query for each.

    Args:
        hidden_dim: Channels, a multiple of 4.
        num_queries: Queries.
        selection: Which positions become queries.
        num_classes: Outputs of the class head; column 0 decides. 1 is foreground alone; the number of
            categories gives the layout of the published checkpoints.
        anchor_scale: Width and height of an initial box on the finest level, as fraction of the image.
        anchor_growth: Factor on them from one level to the next.
        content: ``features``: the content of a query holds its position and the features there. ``position``:
            its position alone, as in two-stage Deformable DETR.
    """

    reference_size = 4
    has_first_stage = True

    def __init__(
        self,
        *,
        hidden_dim: int,
        selection: Selection,
        num_queries: int = 900,
        num_classes: int = 1,
        anchor_scale: float = 0.05,
        anchor_growth: float = 2.0,
        content: str = "features",
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=4)
        if hidden_dim % 4:
            raise ValueError(f"hidden_dim must be a multiple of 4 (sines and cosines of boxes), got {hidden_dim}")
        self.num_queries = require_int("num_queries", num_queries, low=1)
        self.anchor_scale = require_number("anchor_scale", anchor_scale, low=0, high=1)
        self.anchor_growth = require_number("anchor_growth", anchor_growth, low=0)
        self.content = require_choice("content", content, ("features", "position"))
        require_callable("selection", selection)
        self.selection = selection
        self.memory_projection = nn.Linear(hidden_dim, hidden_dim)
        self.memory_norm = nn.LayerNorm(hidden_dim)
        self.position_projection = nn.Linear(2 * hidden_dim, 2 * hidden_dim)
        self.position_norm = nn.LayerNorm(2 * hidden_dim)
        if content == "features":
            self.content_projection = nn.Linear(hidden_dim, hidden_dim)
            self.content_norm = nn.LayerNorm(hidden_dim)
        xavier_uniform_matrices(self)
        self.head = PredictionHead(hidden_dim=hidden_dim, num_classes=num_classes)

    def forward(self, memory: FeatureTokens) -> tuple[Queries, Prediction]:
        """The best boxes as queries, detached from what proposed them, and all ``[B, S]`` boxes as first stage."""
        anchors, is_valid = encoder_anchors(memory, self.anchor_scale, self.anchor_growth)
        features = self.project(memory.tokens, is_valid)
        logits = self.head.logits(features)
        # The logit of an anchor that is not valid is infinite: its box stays (1, 1, 1, 1) and has no gradient.
        boxes = self.head.boxes(features, anchors.logit())
        selected = self.selection(
            logits[..., 0].detach().float(),
            boxes.detach(),
            is_valid,
            memory.level_sizes(),
            min(self.num_queries, anchors.shape[1]),
        )
        first = Prediction(logits, boxes, anchors, may_match=is_valid, levels=memory.levels())
        features, references = take_rows(features, selected).detach(), take_rows(boxes, selected).detach()
        return self._queries(features, references, selected), first

    def project(self, tokens: Tensor, is_valid: Tensor) -> Tensor:
        """``[B, S, D]`` features of the first stage; tokens that are not valid count as zero."""
        known = tokens.masked_fill(~is_valid[..., None], 0.0)
        features: Tensor = self.memory_norm(self.memory_projection(known))
        return features

    def _queries(self, features: Tensor, references: Tensor, source: Tensor) -> Queries:
        embedding = box_embedding(references, self.hidden_dim // 2)
        position, content = self.position_norm(self.position_projection(embedding)).chunk(2, dim=-1)
        if self.content == "features":
            content = content + self.content_norm(self.content_projection(features))
        return Queries(content, position, references, source)
