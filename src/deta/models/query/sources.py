"""Where queries come from: learned vectors, or the first stage's best boxes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deta.models.query.feedforward import MLP
from deta.models.query.heads import Float32Linear
from deta.models.query.labels import LabelEmbedding
from deta.models.query.tokens import FeatureTokens, Queries
from deta.ops.random import Draw
from deta.structures import Prediction
from deta.utils.checks import require_choice, require_int


class QuerySource(nn.Module):
    """Base class of what starts the decoder.

    Attributes:
        hidden_dim: Channels of the queries.
        reference_size: 4 when references are boxes, 2 when they are points, 0 when there are none.
        has_position: Whether its queries have a position, else the decoder makes it.
        has_spare_position: Whether that position serves nothing else, so that a decoder that makes it leaves it
            untrained.
        has_first_stage: Whether it predicts boxes, of which queries are made.
        labels: Content of queries that are made of an object, for ``encode``; None where there can be no such queries.
    """

    hidden_dim: int
    reference_size: int
    has_position: bool = True
    has_spare_position: bool = False
    has_first_stage: bool = False

    def __init__(self) -> None:
        super().__init__()
        # Not a value of the class, which would hide the module of that name.
        self.labels: LabelEmbedding | None = None

    @property
    def most_queries(self) -> int:
        """The largest number of queries that detect, before patterns."""
        raise ValueError(
            f"model.body.source ({type(self).__name__}) does not say how many queries it makes (most_queries): give "
            "further queries (model.body.groups) their own num_queries"
        )

    def forward(self, memory: FeatureTokens, draw: Draw | None = None) -> tuple[Queries, Prediction | None]:
        """Queries for every image and, with a first stage, its output.

        Args:
            memory: The encoded image.
            draw: Of the training step, whose epoch may decide how many queries there are; None does not train.
        """
        raise NotImplementedError

    def vectors(self, count: int) -> nn.ModuleDict:
        """What ``count`` further queries of this kind learn for themselves, see ``further``.

        Raises:
            ValueError: There are no further ones.
        """
        raise self._has_no_further()

    def further(
        self,
        count: int,
        vectors: Mapping[str, Tensor],
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
    ) -> Queries:
        """Further queries of this kind, beside the main ones.

        Args:
            count: How many.
            vectors: What they learn for themselves.
            memory: The encoded image.
            main: The queries of ``forward``.
            first: The first stage of ``forward``.

        Returns:
            ``count`` queries, or as many as the image has positions left.

        Raises:
            ValueError: There are none.
        """
        raise self._has_no_further()

    def _has_no_further(self) -> ValueError:
        return ValueError(
            f"model.body.source ({type(self).__name__}) makes no queries beside the main ones (further), which "
            "model.body.groups (further=) asks for: leave these out, or take another source"
        )

    def supervised(self, first: Prediction, main: Queries) -> Prediction:
        """The part of the first stage that is trained: all of it."""
        del main
        return first

    def encode(self, labels: Tensor, references: Tensor) -> Queries:
        """Queries that are made of objects, such as those of denoising.

        Args:
            labels: ``[B, Q]`` int64 category.
            references: ``[B, Q, 4]`` ``cxcywh`` in 0..1.

        Raises:
            ValueError: This source has no embedding of labels, or no boxes as references.
        """
        content: Tensor = self.known_labels()(labels)
        return Queries(content, self.position_of(references), references)

    def known_labels(self) -> LabelEmbedding:
        """The embedding of labels.

        Raises:
            ValueError: See ``encode``.
        """
        if self.labels is None or self.reference_size != 4:
            raise ValueError(
                f"denoising needs a source with boxes as references and with labels, which {type(self).__name__} "
                "(model.body.source) does not have: give it labels, or leave out model.body.groups.denoise"
            )
        return self.labels

    def position_of(self, references: Tensor) -> Tensor | None:
        """``[B, Q, D]`` position of queries with these boxes; None where the decoder makes it."""
        del references
        return None


class LearnedQueries(QuerySource):
    """The same learned queries for every image, whose position is learned.

    Source: arXiv:2010.04159, sec. 4.1 (references are a linear function of the position); arXiv:2005.12872 (DETR: no
    references, content zero); arXiv:2108.06152 (Conditional DETR: references by two layers, content zero).

    Args:
        hidden_dim: Channels.
        num_queries: Queries.
        reference_size: 2 for points, as published; 4 for boxes; 0 for none.
        reference_layers: Layers from position to reference, 1 or 2.
        content: ``learned`` too, or ``zeros``.
    """

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_queries: int = 300,
        reference_size: int = 2,
        reference_layers: int = 1,
        content: str = "learned",
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_queries = require_int("num_queries", num_queries, low=1)
        if reference_size not in (0, 2, 4):
            raise ValueError(
                f"reference_size must be 2 (points), 4 (boxes) or 0 (no references), got {reference_size!r}"
            )
        self.reference_size = reference_size
        require_int("reference_layers", reference_layers, low=1, high=2)
        self.content = require_choice("content", content, ("learned", "zeros"))
        self.query_embed = nn.Embedding(num_queries, self._width())
        self.reference_points: nn.Module | None = None
        if reference_size:
            last = Float32Linear(hidden_dim, reference_size)
            nn.init.xavier_uniform_(last.weight)
            nn.init.zeros_(last.bias)
            self.reference_points = last if reference_layers == 1 else MLP(hidden_dim, hidden_dim, last=last)

    @property
    def most_queries(self) -> int:
        """Those that it was made with."""
        return self.num_queries

    def forward(self, memory: FeatureTokens, draw: Draw | None = None) -> tuple[Queries, Prediction | None]:
        """``[B, Q, ...]`` queries that no image has changed; there is no first stage."""
        del draw
        return self._queries(self.query_embed.weight, memory.tokens.shape[0]), None

    def vectors(self, count: int) -> nn.ModuleDict:
        """Position, and content where it is learned."""
        return nn.ModuleDict({"query_embed": nn.Embedding(count, self._width())})

    def further(
        self,
        count: int,
        vectors: Mapping[str, Tensor],
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
    ) -> Queries:
        """Further learned queries, whose references are made as those of the main ones."""
        del count, main, first
        return self._queries(vectors["query_embed"], memory.tokens.shape[0])

    def _width(self) -> int:
        return self.hidden_dim if self.content == "zeros" else 2 * self.hidden_dim

    def _queries(self, vectors: Tensor, num_images: int) -> Queries:
        vectors = vectors.expand(num_images, -1, -1)  # [B, Q, D or 2 D]
        position, content = (vectors, torch.zeros_like(vectors)) if self.content == "zeros" else vectors.chunk(2, -1)
        references = None if self.reference_points is None else self.reference_points(position).sigmoid()
        return Queries(content, position, references)


class LearnedBoxes(QuerySource):
    """The same learned boxes for every image, of which the decoder makes positions.

    Source: arXiv:2201.12329 (DAB-DETR), sec. 4.1; with labels arXiv:2203.01305 (DN-DETR), sec. 4.

    Args:
        hidden_dim: Channels.
        num_queries: Boxes.
        content: ``zeros``; ``learned`` for every box; or ``label``: that of no label, which needs ``labels``.
        num_patterns: Contents that every box is asked with (arXiv:2109.07107), each its own query; 0 is one without.
        labels: For queries that are made of objects.
    """

    reference_size = 4
    has_position = False

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_queries: int = 300,
        content: str = "zeros",
        num_patterns: int = 0,
        labels: LabelEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_queries = require_int("num_queries", num_queries, low=1)
        require_int("num_patterns", num_patterns, low=0)
        self.kind = require_choice("content", content, ("zeros", "learned", "label"))
        if content == "label" and labels is None:
            raise ValueError("model.body.source.content=label needs model.body.source.labels: add denoise to further=")
        self.labels = labels
        self.boxes = nn.Embedding(num_queries, 4)
        self.content = nn.Embedding(num_queries, self._content_width()) if content == "learned" else None
        self.patterns = nn.Embedding(num_patterns, hidden_dim) if num_patterns else None

    @property
    def most_queries(self) -> int:
        """Those that it was made with."""
        return self.num_queries

    def forward(self, memory: FeatureTokens, draw: Draw | None = None) -> tuple[Queries, Prediction | None]:
        """``[B, Q, ...]`` queries that no image has changed, pattern by pattern; there is no first stage."""
        del draw
        own = {"boxes": self.boxes.weight}
        if self.content is not None:
            own["content"] = self.content.weight
        return self._queries(own, memory.tokens.shape[0]), None

    def vectors(self, count: int) -> nn.ModuleDict:
        """Boxes before the sigmoid, and content where it is learned."""
        vectors = {"boxes": nn.Embedding(count, 4)}
        if self.kind == "learned":
            vectors["content"] = nn.Embedding(count, self._content_width())
        return nn.ModuleDict(vectors)

    def further(
        self,
        count: int,
        vectors: Mapping[str, Tensor],
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
    ) -> Queries:
        """Further learned boxes, asked with the same patterns."""
        del count, main, first
        return self._queries(vectors, memory.tokens.shape[0])

    def _queries(self, vectors: Mapping[str, Tensor], num_images: int) -> Queries:
        boxes = vectors["boxes"].sigmoid()  # [Q, 4]
        content = self._content(vectors, boxes)  # [Q, D]
        if self.patterns is not None:
            content = (content + self.patterns.weight[:, None]).flatten(0, 1)  # [P * Q, D]
            boxes = boxes.repeat(self.patterns.num_embeddings, 1)  # [P * Q, 4]
        return Queries(content.expand(num_images, -1, -1), references=boxes.expand(num_images, -1, -1))

    def _content_width(self) -> int:
        return self.hidden_dim - int(self.labels is not None and self.labels.has_indicator)

    def _content(self, vectors: Mapping[str, Tensor], boxes: Tensor) -> Tensor:
        if self.kind == "zeros":
            return boxes.new_zeros(len(boxes), self.hidden_dim)
        if self.kind == "learned":
            return vectors["content"] if self.labels is None else self.labels.marked(vectors["content"], 0.0)
        assert self.labels is not None
        return self.labels.unlabelled().expand(len(boxes), -1)
