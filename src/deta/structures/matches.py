"""The answer of an assigner: which candidate box answers for which object."""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from deta.structures.base import TensorStruct

BACKGROUND = -1
"""In ``Matches.target``: the candidate is trained as background."""
IGNORED = -2
"""In ``Matches.target``: the candidate takes no part in the classification loss."""


@dataclass(frozen=True)
class Candidates(TensorStruct):
    """The boxes among which an assigner chooses: all positions of the first stage, or all queries.

    Attributes:
        references: ``[B, Q, 4]`` ``cxcywh`` boxes before refinement (anchors, or the decoder's references).
        boxes: ``[B, Q, 4]`` ``cxcywh`` predicted boxes.
        logits: ``[B, Q, C]`` predicted class logits.
        is_valid: ``[B, Q]`` bool; False can never be positive.
    """

    references: Tensor
    boxes: Tensor
    logits: Tensor
    is_valid: Tensor


@dataclass(frozen=True)
class ExtraPairs(TensorStruct):
    """Pairs beyond the one object per candidate that ``Matches.target`` can express.

    Only the release's rule makes them: a box may be given to two objects.

    Attributes:
        query: ``[B, E]`` int64 candidate index; 0 where not a pair.
        target: ``[B, E]`` int64 object index; 0 where not a pair.
        is_pair: ``[B, E]`` bool.
    """

    query: Tensor
    target: Tensor
    is_pair: Tensor


@dataclass(frozen=True)
class MatchStatistics(TensorStruct):
    """What an assignment did, summed over the batch; the research output beside AP.

    Vectors have one entry per object size: small, medium, large by COCO's area limits.

    Attributes:
        num_images: Scalar.
        num_objects: ``[3]`` objects.
        num_positives: ``[3]`` (candidate, object) pairs.
        num_unmatched: ``[3]`` objects without a positive.
        sum_iou: ``[3]`` sum over pairs of the IoU of reference and object.
        num_rescued: ``[3]`` pairs below the IoU threshold, positive by the closest-box rule alone.
        num_contested: Scalar; candidates which passed the rule for two or more objects.
        num_ignored: Scalar; candidates left out of the classification loss.
        num_cut_images: Scalar; images where sampling turned positives into background.
    """

    num_images: Tensor
    num_objects: Tensor
    num_positives: Tensor
    num_unmatched: Tensor
    sum_iou: Tensor
    num_rescued: Tensor
    num_contested: Tensor
    num_ignored: Tensor
    num_cut_images: Tensor

    def __add__(self, other: Self) -> Self:
        """Statistics of both batches together."""
        return replace(
            self,
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)},
        )


@dataclass(frozen=True)
class Matches(TensorStruct):
    """Assignment of one set of candidates.

    Attributes:
        target: ``[B, Q]`` int64 object index inside the image, ``BACKGROUND`` or ``IGNORED``.
        stats: What the assignment did.
        extra: Further pairs, or None.
    """

    target: Tensor
    stats: MatchStatistics
    extra: ExtraPairs | None = None

    def is_positive(self) -> Tensor:
        """``[B, Q]`` bool, True where the candidate answers for an object."""
        return self.target >= 0

    def pairs(self) -> Tensor:
        """``[M, 3]`` int64 ``(image, candidate, object)`` of every pair, sorted; synchronises."""
        image, query = torch.nonzero(self.target >= 0, as_tuple=True)
        rows = [torch.stack((image, query, self.target[image, query]), dim=1)]
        if self.extra is not None:
            image, column = torch.nonzero(self.extra.is_pair, as_tuple=True)
            rows.append(torch.stack((image, self.extra.query[image, column], self.extra.target[image, column]), dim=1))
        pairs: Tensor = torch.unique(torch.cat(rows), dim=0)
        return pairs
