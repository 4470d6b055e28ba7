"""What the detector returns for a batch."""

from dataclasses import dataclass

from torch import Tensor

from deta.structures.base import TensorStruct


@dataclass(frozen=True)
class LayerPrediction(TensorStruct):
    """Output of one decoder layer.

    Attributes:
        logits: ``[B, Q, C]`` one sigmoid logit per class.
        boxes: ``[B, Q, 4]`` ``cxcywh`` in 0..1.
        references: ``[B, Q, 4]`` detached ``cxcywh`` boxes which this layer refined, or ``[B, Q, 2]`` points.
    """

    logits: Tensor
    boxes: Tensor
    references: Tensor


@dataclass(frozen=True)
class Proposals(TensorStruct):
    """Output of the first stage: one box per encoder position.

    Attributes:
        logits: ``[B, S, C1]`` foreground logits; column 0 decides. ``C1`` is 1, or C as in the release.
        boxes: ``[B, S, 4]`` ``cxcywh`` in 0..1, with gradient.
        anchors: ``[B, S, 4]`` initial boxes ``cxcywh`` in 0..1; ``(1, 1, 1, 1)`` where not valid.
        is_valid: ``[B, S]`` bool, False on padding and on anchors that touch the image border.
        levels: ``[S]`` int64 feature level of the position.
        selected: ``[B, Q]`` int64 positions that became queries, in query order.
    """

    logits: Tensor
    boxes: Tensor
    anchors: Tensor
    is_valid: Tensor
    levels: Tensor
    selected: Tensor


@dataclass(frozen=True)
class GroupSlice:
    """The queries ``start:stop`` that belong to the query group ``name``."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class DetectionOutput(TensorStruct):
    """Predictions of every stage.

    Attributes:
        layers: One entry per decoder layer; the last is the final prediction.
        proposals: First-stage output, or None for learned queries.
        groups: Where each query group lies in the Q dimension of every layer.
    """

    layers: tuple[LayerPrediction, ...]
    proposals: Proposals | None
    groups: tuple[GroupSlice, ...]

    def group(self, group: GroupSlice) -> tuple[LayerPrediction, ...]:
        """The layers restricted to the queries of one group."""
        return tuple(layer.map(lambda tensor: tensor[:, group.start : group.stop]) for layer in self.layers)
