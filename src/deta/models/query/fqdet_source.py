"""Queries of anchors: the best of several boxes around every cell of every level."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.models.query.heads import Float32Linear
from deta.models.query.selection import Selection
from deta.models.query.tokens import Queries
from deta.ops.rows import take_rows
from deta.ops.sizes import smaller
from deta.structures import Features, Prediction
from deta.utils.checks import require_callable, require_int, require_list, require_number

NUM_GROUPS = 8
"""Groups of every GroupNorm (the release of FQDet)."""


class AnchorQueries(nn.Module):
    """First stage: anchors are scored by a few convolutions, and the best become queries.

    An anchor of stride s with ratio r (height to width) and size number j has the area of a square with side
    ``scale * s * 2^(j / num_sizes)``. Anchors lie on padding too, and none is clipped.

    Source: arXiv:2210.02318 (FQDet), sec. 3, and its release. Differs: of equal scores the earlier anchor is taken.

    Args:
        hidden_dim: Channels of every level and query, a multiple of 8.
        selection: Which anchors become queries.
        num_queries: Queries.
        bottleneck_dim: Channels in the middle of the convolutions, a multiple of 8.
        scale: Side of the smallest anchor, in cells.
        num_sizes: Sizes of anchors at every cell, from ``scale`` to below twice that.
        ratios: Height to width of the anchors of every size.
    """

    def __init__(
        self,
        *,
        hidden_dim: int,
        selection: Selection,
        num_queries: int = 300,
        bottleneck_dim: int = 64,
        scale: float = 4.0,
        num_sizes: int = 3,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        super().__init__()
        for name, width in (("hidden_dim", hidden_dim), ("bottleneck_dim", bottleneck_dim)):
            if require_int(name, width, low=1) % NUM_GROUPS:
                raise ValueError(f"{name} must be a multiple of {NUM_GROUPS}, the groups of the norms, got {width}")
        self.hidden_dim = hidden_dim
        self.num_queries = require_int("num_queries", num_queries, low=1)
        require_callable("selection", selection)
        self.selection = selection
        shapes = _anchor_shapes(scale, require_int("num_sizes", num_sizes, low=1), ratios)
        self.shapes: Tensor
        self.register_buffer("shapes", shapes, persistent=False)
        self.scores = AnchorScores(hidden_dim, bottleneck_dim, len(shapes))
        self.projections = nn.ModuleList(_block(hidden_dim) for _ in shapes)
        self.box_encoding = nn.Sequential(Float32Linear(4, hidden_dim), _block(hidden_dim, skip=True))

    def forward(self, features: Features, tokens: Tensor) -> tuple[Queries, Prediction]:
        """The best anchors as queries, and the scores of all.

        Args:
            features: Maps that are scored.
            tokens: ``[B, S, D]`` the same, levels one after the other.

        Returns:
            Queries whose references are anchors and whose position is an encoding of them, and the first stage with
            one logit for each of the ``N = 9 * S`` anchors, ordered by level, row, column and kind.
        """
        frame = features.frame()
        anchors, levels, strides = self.anchors(features)
        boxes = anchors / frame[:, None]  # [B, N, 4]
        logits = torch.cat([self.scores(level) for level in features.maps], dim=1)  # [B, N]
        num_kinds = len(self.shapes)
        level_sizes = [height * width * num_kinds for height, width in features.spatial_shapes]
        selected = self.selection(
            logits.detach(),
            boxes,
            torch.ones_like(logits, dtype=torch.bool),
            level_sizes,
            smaller(self.num_queries, logits.shape[1]),
        )
        grid = tuple((height, width, num_kinds) for height, width in features.spatial_shapes)
        first = Prediction(logits[..., None], boxes, boxes, frame, grid=grid, levels=levels, strides=strides)
        references = take_rows(boxes, selected)
        content = self._content(take_rows(tokens, selected // num_kinds), selected % num_kinds)
        return Queries(content, self.box_encoding(in_padded(references, features)), references, selected), first

    def anchors(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """``[N, 4]`` ``cxcywh`` in pixels, ``[N]`` level and ``[N]`` stride of every anchor."""
        parts = []
        for level, ((height, width), stride) in enumerate(zip(features.spatial_shapes, features.strides, strict=True)):
            rows = torch.arange(height, device=self.shapes.device).float() + 0.5
            columns = torch.arange(width, device=self.shapes.device).float() + 0.5
            centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).view(-1, 1, 2)  # [h*w, 1, 2]
            size = (height * width, len(self.shapes), 2)
            boxes = torch.cat((centres.expand(size), self.shapes.expand(size)), dim=-1) * stride  # [h*w, A, 4]
            own = boxes.flatten(0, 1)  # [h*w*A, 4]
            parts.append(
                (own, torch.full_like(own[:, 0], level, dtype=torch.int64), torch.full_like(own[:, 0], stride))
            )
        anchors, levels, strides = (torch.cat(part) for part in zip(*parts, strict=True))
        return anchors, levels, strides

    def _content(self, tokens: Tensor, kinds: Tensor) -> Tensor:
        """``[B, Q, D]`` tokens after the projection of the kind ``[B, Q]`` of each."""
        projected = torch.stack([projection(tokens) for projection in self.projections], dim=2)  # [B, Q, A, D]
        index = kinds[..., None, None].expand(-1, -1, 1, self.hidden_dim)  # [B, Q, 1, D]
        return projected.gather(2, index)[:, :, 0]  # [B, Q, D]


def in_padded(boxes: Tensor, features: Features) -> Tensor:
    """``[B, Q, 4]`` boxes relative to the unpadded images, relative to the padded ones."""
    height, width = features.padded()
    rows, columns = features.image_sizes.unbind(1)
    share = torch.stack((columns / width, rows / height), dim=1).repeat(1, 2)  # [B, 4]
    return boxes * share[:, None]


class PreActivated(nn.Module):
    """Norm, ReLU, a layer, and the input added where it is a ``skip``."""

    def __init__(self, norm: nn.Module, layer: nn.Module, *, skip: bool = False) -> None:
        super().__init__()
        self.norm = norm
        self.layer = layer
        self.skip = skip

    def forward(self, values: Tensor) -> Tensor:
        """A map or tokens."""
        change: Tensor = self.layer(self.norm(values).relu())
        return values + change if self.skip else change


class AnchorScores(nn.Module):
    """A logit for each anchor of every cell of a map."""

    def __init__(self, hidden_dim: int, bottleneck_dim: int, num_kinds: int) -> None:
        super().__init__()
        self.first = _convolution(hidden_dim, hidden_dim)
        self.reduce = _convolution(hidden_dim, bottleneck_dim)
        self.middle = _convolution(bottleneck_dim, bottleneck_dim, side=3)
        self.expand = _convolution(bottleneck_dim, hidden_dim)
        self.last = nn.Conv2d(hidden_dim, num_kinds, 1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, -math.log(99))  # a probability of 0.01

    def forward(self, level: Tensor) -> Tensor:
        """``[B, h*w*A]`` float32 logits of a map ``[B, D, h, w]``."""
        hidden = self.first(level)
        hidden = hidden + self.expand(self.middle(self.reduce(hidden)))
        with torch.autocast(level.device.type, enabled=False):  # half-precision logits tie, and ties decide selections
            logits: Tensor = self.last(hidden.relu().to(self.last.weight.dtype))  # [B, A, h, w]
        return logits.permute(0, 2, 3, 1).flatten(1)  # [B, h*w*A]


def _convolution(in_dim: int, out_dim: int, side: int = 1) -> PreActivated:
    return PreActivated(nn.GroupNorm(NUM_GROUPS, in_dim), nn.Conv2d(in_dim, out_dim, side, padding=side // 2))


def _block(hidden_dim: int, *, skip: bool = False) -> PreActivated:
    return PreActivated(nn.LayerNorm(hidden_dim), nn.Linear(hidden_dim, hidden_dim), skip=skip)


def _anchor_shapes(scale: float, num_sizes: int, ratios: Sequence[float]) -> Tensor:
    """``[A, 2]`` width and height in cells, by size, then ratio."""
    require_number("scale", scale, low=1e-3)
    checked = [require_number("ratios", ratio, low=1e-3) for ratio in require_list("ratios", ratios)]
    if not checked:
        raise ValueError("ratios must name at least one ratio of height to width")
    areas = [(scale * 2 ** (number / num_sizes)) ** 2 for number in range(num_sizes)]
    widths = [(math.sqrt(area / ratio), ratio) for area in areas for ratio in checked]
    return torch.tensor([(width, ratio * width) for width, ratio in widths])  # [A, 2]
