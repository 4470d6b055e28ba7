"""The answer of an assigner: which candidate box answers for which object."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor

from deta.structures.base import TensorStruct

BACKGROUND = -1
"""In ``Matches.target``: the candidate is trained as background."""
IGNORED = -2
"""In ``Matches.target``: the candidate takes no part in the classification loss."""


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
class Matches(TensorStruct):
    """Assignment of one set of candidates.

    Attributes:
        target: ``[B, N]`` int64 object index inside the image, ``BACKGROUND`` or ``IGNORED``.
        quality: ``[B, N]`` float32 in 0..1, the class target of a positive in losses that ask for one; None is 1.
        class_target: ``[B, N, C]`` float32 target of every class, for rules that spread an object over its
            neighbourhood; None follows from ``target``.
        extra: Further pairs, or None.
        notes: What only the rule knows of its choice, by name: ``[B, N]`` bool of candidates or ``[B]`` bool of images,
            counted in the statistics. The shipped rules note ``rescued`` (positive by the closest-box or low-quality
            rule alone), ``contested`` (passed the rule for two or more objects) and ``cut`` (image where sampling
            turned positives into background).
    """

    target: Tensor
    quality: Tensor | None = None
    class_target: Tensor | None = None
    extra: ExtraPairs | None = None
    notes: Mapping[str, Tensor] = field(default_factory=dict)

    def is_positive(self) -> Tensor:
        """``[B, N]`` bool, True where the candidate answers for an object."""
        return self.target >= 0

    def num_pairs(self) -> Tensor:
        """``[B]`` float32 number of (candidate, object) pairs of every image."""
        count = self.is_positive().sum(1, dtype=torch.float32)
        return count if self.extra is None else count + self.extra.is_pair.sum(1)

    def pairs(self) -> Tensor:
        """``[M, 3]`` int64 ``(image, candidate, object)`` of every pair, sorted; synchronises."""
        image, candidate = torch.nonzero(self.target >= 0, as_tuple=True)
        rows = [torch.stack((image, candidate, self.target[image, candidate]), dim=1)]  # [M, 3]
        if self.extra is not None:
            image, column = torch.nonzero(self.extra.is_pair, as_tuple=True)
            rows.append(torch.stack((image, self.extra.query[image, column], self.extra.target[image, column]), dim=1))
        pairs: Tensor = torch.unique(torch.cat(rows), dim=0)
        return pairs

    def then(self, function: Callable[["Matches"], "Matches"]) -> "Matches":
        """``function`` of this; a ``Problem`` applies it once it is solved, so that a wrapper treats both alike."""
        return function(self)


@dataclass(frozen=True)
class MatchStatistics(TensorStruct):
    """What an assignment did, summed over the batch; the research output beside AP.

    Vectors have one entry per object size: small, medium, large by COCO's area limits.

    Attributes:
        num_images: Scalar.
        num_objects: ``[3]`` objects.
        num_positives: ``[3]`` (candidate, object) pairs.
        num_unmatched: ``[3]`` objects without a positive.
        sum_iou: ``[3]`` sum over pairs of the IoU of prior and object.
        num_ignored: Scalar; candidates left out of the classification loss.
        noted: What the rule noted, by name: ``[3]`` positives, or a scalar number of images.
    """

    num_images: Tensor
    num_objects: Tensor
    num_positives: Tensor
    num_unmatched: Tensor
    sum_iou: Tensor
    num_ignored: Tensor
    noted: Mapping[str, Tensor] = field(default_factory=dict)

    def __add__(self, other: Self) -> Self:
        """Statistics of both batches together; what one of them has not noted counts 0 there."""
        sums = {
            part.name: getattr(self, part.name) + getattr(other, part.name)
            for part in fields(self)
            if part.name != "noted"
        }
        noted = dict(self.noted)
        for name, count in other.noted.items():
            noted[name] = noted[name] + count if name in noted else count
        return replace(self, **sums, noted=noted)
