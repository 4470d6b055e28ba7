"""Prediction heads: class logits and boxes from a token."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from deta.utils.checks import require_bool, require_choice, require_int, require_number


class PredictionHead(nn.Module):
    """A linear class head and a box head that moves a reference.

    Logits and boxes are float32 under autocast too: half-precision logits tie, and ties decide selections.

    Args:
        hidden_dim: Channels of a token.
        num_classes: Categories.
        scores: How logits become scores: ``sigmoid`` of every class by itself, or ``softmax`` with one more logit
            behind those of the categories, for "no object" (arXiv:2005.12872).
        prior: Probability of every class at the start (arXiv:1708.02002, sec. 4.1); None starts at random.
        starts_at_reference: Whether boxes start at their reference, else beside it at random.
    """

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_classes: int,
        scores: str = "sigmoid",
        prior: float | None = 0.01,
        starts_at_reference: bool = True,
    ) -> None:
        super().__init__()
        require_int("num_classes", num_classes, low=1)
        require_choice("scores", scores, ("sigmoid", "softmax"))
        self.class_logits = Float32Linear(hidden_dim, num_classes + int(scores == "softmax"))
        self.box_deltas = BoxDeltas(hidden_dim)
        if require_bool("starts_at_reference", starts_at_reference):
            nn.init.zeros_(self.box_deltas.last.weight)
            nn.init.zeros_(self.box_deltas.last.bias)
        if prior is not None:
            prior = require_number("prior", prior, low=1e-6, high=1 - 1e-6)
            nn.init.constant_(self.class_logits.bias, -math.log((1 - prior) / prior))

    def logits(self, tokens: Tensor) -> Tensor:
        """``[B, N, C]`` class logits of ``[B, N, D]`` tokens."""
        logits: Tensor = self.class_logits(tokens)
        return logits

    def boxes(self, tokens: Tensor, reference_logits: Tensor | None) -> Tensor:
        """``[B, N, 4]`` boxes of ``[B, N, D]`` tokens, see ``boxes_around``."""
        return boxes_around(self.box_deltas(tokens), reference_logits)

    def start_with_small_boxes(self) -> None:
        """Let width and height start at 0.12 of the image where the reference is a point without size."""
        nn.init.constant_(self.box_deltas.last.bias[2:], -2.0)


def boxes_around(deltas: Tensor, reference_logits: Tensor | None) -> Tensor:
    """Boxes around references.

    Args:
        deltas: ``[B, N, 4]`` offsets before the sigmoid.
        reference_logits: ``[B, N, 4]`` boxes or ``[B, N, 2]`` points before the sigmoid; may be infinite. None is 0.

    Returns:
        ``[B, N, 4]`` ``cxcywh`` in 0..1.
    """
    if reference_logits is None:
        return deltas.sigmoid()
    if reference_logits.shape[-1] == 2:
        # A point has no size to start from: 0 leaves width and height to the deltas.
        reference_logits = functional.pad(reference_logits, (0, 2))
    return (deltas + reference_logits).sigmoid()


class BoxDeltas(nn.Module):
    """Three linear layers to four offsets in logit space."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(hidden_dim, hidden_dim)
        self.second = nn.Linear(hidden_dim, hidden_dim)
        self.last = Float32Linear(hidden_dim, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, N, 4]`` of ``[B, N, D]``."""
        hidden = self.second(self.first(tokens).relu()).relu()
        deltas: Tensor = self.last(hidden)
        return deltas


class Float32Linear(nn.Linear):
    """A linear layer that autocast leaves in the precision of its weight."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the base class
        """``[..., out]`` of ``[..., in]``."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))
