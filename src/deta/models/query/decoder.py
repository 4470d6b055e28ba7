"""The decoder: queries attend to each other and to the encoded image, and boxes are refined."""

from collections.abc import Sequence

from torch import Tensor, nn

from deta.models.attention.deformable import DeformableAttention
from deta.models.attention.self_attention import SelfAttention
from deta.models.position import reference_embedding
from deta.models.query.feedforward import MLP, FeedForward, require_heads, xavier_uniform_matrices
from deta.models.query.heads import PredictionHead, boxes_around
from deta.models.query.tokens import FeatureTokens, Queries
from deta.models.region import Region
from deta.ops.logit import inverse_sigmoid
from deta.structures import Prediction
from deta.utils.checks import require_bool, require_choice, require_int, require_number

REFINE = ("iterative", "look_forward_twice", "none")


class QueryDecoder(nn.Module):
    """Base class of decoders: how boxes move from layer to layer; a subclass says what a layer attends to.

    Attributes:
        hidden_dim: Channels of every token.
        num_levels: Feature levels.
        num_layers: Layers.
        refine: ``iterative``: every layer moves the detached boxes of the layer before it (arXiv:2010.04159, A.3).
            ``look_forward_twice``: the prediction of a layer moves the boxes of the layer before with their gradient,
            while the next layer starts from detached boxes (arXiv:2203.03605, sec. 3.5). ``none``: every layer starts
            from the first references, if there are any.
        logit_eps: Smallest probability of a reference, see ``inverse_sigmoid``.
        reference_sizes: Which references it takes, see ``QuerySource.reference_size``.
        makes_position: Whether it makes positions of references, else the queries have them.
        norm: Before the heads alone: layers hand on what is not normalised, and boxes that go on are made of it.

    Args:
        hidden_dim: Channels of every token, a multiple of ``num_heads``.
        num_levels: Feature levels.
        num_layers: Layers, at least 1.
        num_heads: Attention heads of a layer.
        refine: See above.
        position: ``queries`` have positions, or they are made of ``references``.
        logit_eps: See above, 0..0.5.

    Raises:
        ValueError: An argument lies outside its range.
    """

    reference_sizes: tuple[int, ...] = (2, 4)

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_levels: int,
        num_layers: int,
        num_heads: int,
        refine: str = "none",
        position: str = "queries",
        logit_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_levels = require_int("num_levels", num_levels, low=1)
        self.num_layers = require_int("num_layers", num_layers, low=1)
        require_heads(hidden_dim, num_heads)
        self.refine = require_choice("refine", refine, REFINE)
        self.makes_position = require_choice("position", position, ("queries", "references")) == "references"
        self.logit_eps = require_number("logit_eps", logit_eps, low=0, high=0.5)
        # Not a value of the class, which would hide the module of that name.
        self.norm: nn.LayerNorm | None = None

    def forward(
        self,
        queries: Queries,
        memory: FeatureTokens,
        heads: Sequence[PredictionHead],
        is_blocked: Tensor | None = None,
    ) -> tuple[Prediction, ...]:
        """Predictions of every layer.

        Args:
            queries: Where to start; a gradient through its references reaches the first layer alone.
            memory: The encoded image.
            heads: One for every layer; a head may serve several layers.
            is_blocked: ``[Q, Q]`` bool, True where the query of the row must not see the query of the column.

        Returns:
            One prediction per layer.
        """
        content, references = queries.content, queries.references
        moved = references
        predictions: list[Prediction] = []
        for index, head in enumerate(heads):
            content = self.attend(index, content, queries.position, references, memory, is_blocked)
            output = content if self.norm is None else self.norm(content)
            deltas = head.box_deltas(output)
            looks_twice = self.refine == "look_forward_twice"
            boxes = boxes_around(deltas, self._logits(moved if looks_twice else references))
            # A point has no overlap with anything: in its place stands the box predicted from it.
            has_boxes = references is not None and references.shape[-1] == 4
            priors = references if references is not None and has_boxes else boxes
            # A copy: compiled steps mistake slices of a tensor for those of its detached twin where both are returned.
            predictions.append(Prediction(head.logits(output), boxes, priors.detach().clone()))
            if self.refine == "iterative":
                references = boxes.detach()
            elif looks_twice and index + 1 < len(heads):
                own = deltas if self.norm is None else head.box_deltas(content)
                moved = boxes_around(own, self._logits(references))
                references = moved.detach()
        return tuple(predictions)

    def attend(
        self,
        index: int,
        content: Tensor,
        position: Tensor | None,
        references: Tensor | None,
        memory: FeatureTokens,
        is_blocked: Tensor | None,
    ) -> Tensor:
        """Content behind layer ``index``.

        Args:
            index: From 0.
            content: ``[B, Q, D]``.
            position: ``[B, Q, D]``, that of ``Queries``.
            references: ``[B, Q, 2 or 4]`` where boxes start from.
            memory: The encoded image.
            is_blocked: See ``forward``.

        Returns:
            ``[B, Q, D]``.
        """
        raise NotImplementedError

    def _logits(self, references: Tensor | None) -> Tensor | None:
        return None if references is None else inverse_sigmoid(references, self.logit_eps)


class Decoder(QueryDecoder):
    """Post-norm layers of self-attention, deformable cross-attention and feed-forward.

    Source: arXiv:2010.04159, sec. 4.1 and appendix A.3; positions from references: arXiv:2201.12329, sec. 4 and
    arXiv:2203.03605 (DINO).

    Args:
        hidden_dim: Channels of every token.
        num_levels: Feature levels.
        num_layers: Layers, at least 1.
        num_heads: Attention heads.
        num_points: Sampling points of each head and level.
        ffn_dim: Channels inside the feed-forward block.
        dropout: Probability of dropping, 0..1.
        refine: See ``QueryDecoder``; with ``none`` all layers share one head.
        position: Of the queries: ``queries``, as they come, or ``references``, made in every layer of its boxes.
        scale_position: Whether it is multiplied by a function of the content, from the second layer on.
        output_norm: Whether a norm stands before the heads.
        logit_eps: See ``QueryDecoder``.
    """

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_levels: int,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        refine: str = "iterative",
        position: str = "queries",
        scale_position: bool = False,
        output_norm: bool = False,
        logit_eps: float = 1e-5,
    ) -> None:
        super().__init__(
            hidden_dim=hidden_dim,
            num_levels=num_levels,
            num_layers=num_layers,
            num_heads=num_heads,
            refine=refine,
            position=position,
            logit_eps=logit_eps,
        )
        self.reference_sizes = (4,) if self.makes_position else (2, 4)
        self.layers = nn.ModuleList(
            DecoderLayer(hidden_dim, num_levels, num_heads, num_points, ffn_dim, dropout) for _ in range(num_layers)
        )
        # Four coordinates of half the channels each go in.
        self.position_head = MLP(2 * hidden_dim, hidden_dim, hidden_dim) if self.makes_position else None
        require_bool("scale_position", scale_position)
        self.position_scale = MLP(hidden_dim, hidden_dim, hidden_dim) if scale_position else None
        xavier_uniform_matrices(*(part for part in (self.position_head, self.position_scale) if part is not None))
        self.norm = nn.LayerNorm(hidden_dim) if require_bool("output_norm", output_norm) else None

    def attend(
        self,
        index: int,
        content: Tensor,
        position: Tensor | None,
        references: Tensor | None,
        memory: FeatureTokens,
        is_blocked: Tensor | None,
    ) -> Tensor:
        """Queries look at points around their references."""
        assert references is not None
        pairs = references.unflatten(-1, (-1, 2))[:, :, None]  # [B, Q, 1, 1 or 2, 2]
        placed = (pairs * memory.valid_ratios[:, None, :, None]).flatten(-2)  # [B, Q, L, 2 or 4]
        if self.position_head is not None:
            # As published, the position is that on the finest level, padding included.
            embedding = reference_embedding(placed[:, :, 0], self.hidden_dim // 2)
            position = self.position_head(embedding.to(content.dtype))
        assert position is not None
        if self.position_scale is not None and index > 0:
            position = position * self.position_scale(content)
        output: Tensor = self.layers[index](content, position, placed, memory, is_blocked)
        return output


class DecoderLayer(Region):
    """Self-attention, cross-attention, feed-forward, each with residual connection and a norm after it."""

    def __init__(
        self, hidden_dim: int, num_levels: int, num_heads: int, num_points: int, ffn_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attention = SelfAttention(hidden_dim=hidden_dim, num_heads=num_heads, dropout=dropout)
        self.self_attention_norm = nn.LayerNorm(hidden_dim)
        self.cross_attention_norm = nn.LayerNorm(hidden_dim)
        self.ffn = FeedForward(hidden_dim=hidden_dim, ffn_dim=ffn_dim, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        xavier_uniform_matrices(self)
        self.cross_attention = DeformableAttention(
            hidden_dim=hidden_dim, num_heads=num_heads, num_levels=num_levels, num_points=num_points
        )

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        references: Tensor,
        memory: FeatureTokens,
        is_blocked: Tensor | None,
    ) -> Tensor:
        """``[B, Q, D]`` content to the same shape; ``references`` are ``[B, Q, L, 2 or 4]``."""
        change = self.self_attention(content + position, content, is_blocked)
        content = self.self_attention_norm(content + self.dropout(change))
        change = self.cross_attention(
            content + position, references, memory.tokens, memory.spatial_shapes, memory.is_padding
        )
        output: Tensor = self.ffn(self.cross_attention_norm(content + self.dropout(change)))
        return output
