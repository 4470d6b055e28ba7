"""The assignment laboratory: what a rule does to annotated objects and candidates, without a network.

A rule that asks for predictions sees the candidates as boxes and a logit of 0 for all.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from multiprocessing import get_context
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.analysis.candidates import Candidates, Size
from deta.assign import Assigner, Draw, assign, statistics
from deta.assign.scene import LARGEST_TABLE
from deta.data.coco import CocoAnnotations
from deta.ops.iou import box_iou, pairwise_iou
from deta.structures import SIZE_NAMES, Matches, MatchStatistics, Prediction, Targets
from deta.utils.checks import require_int

DEFAULT_SHARED_IOU = 0.5


@dataclass(frozen=True)
class SharedBoxes:
    """Pairs of a positive box and its object whose box overlaps a second object too; ``[3]`` by size of the object.

    Attributes:
        num: Such pairs.
        sum_own: Sum of their IoU with the object they answer for.
        sum_other: Sum of their highest IoU with another object.
    """

    num: Tensor
    sum_own: Tensor
    sum_other: Tensor

    def __add__(self, other: "SharedBoxes") -> "SharedBoxes":
        """Both together."""
        return SharedBoxes(self.num + other.num, self.sum_own + other.sum_own, self.sum_other + other.sum_other)


@dataclass(frozen=True)
class Outcome:
    """What one rule did to all objects."""

    statistics: MatchStatistics
    shared: SharedBoxes

    def __add__(self, other: "Outcome") -> "Outcome":
        """Both together."""
        return Outcome(self.statistics + other.statistics, self.shared + other.shared)

    def rows(self) -> list[dict[str, object]]:
        """One row per object size and one for all; a share or mean of nothing is None."""
        stats, shared = self.statistics, self.shared
        rescued, contested = (stats.noted.get(name, torch.zeros(len(SIZE_NAMES))) for name in ("rescued", "contested"))
        columns = (stats.num_objects, stats.num_positives, stats.num_unmatched, stats.sum_iou, rescued, contested)
        vectors = [vector.double() for vector in (*columns, shared.num, shared.sum_own, shared.sum_other)]
        table = torch.stack([torch.cat((vector, vector.sum(0, keepdim=True))) for vector in vectors], dim=1)
        rows: list[dict[str, object]] = []
        for name, numbers in zip((*SIZE_NAMES, "all"), table.tolist(), strict=True):
            objects, positives, unmatched, sum_iou, rescued, contested, num_shared, sum_own, sum_other = numbers
            row: dict[str, object] = {
                "size": name,
                "objects": round(objects),
                "positives": round(positives),
                "positives_per_object": _ratio(positives, objects),
                "unmatched": round(unmatched),
                "unmatched_share": _ratio(unmatched, objects),
                "mean_iou": _ratio(sum_iou, positives),
                "rescued_share": _ratio(rescued, positives),
                "contested_share": _ratio(contested, positives) if "contested" in stats.noted else None,
                "shared": round(num_shared),
                "shared_share": _ratio(num_shared, positives),
                "shared_iou_own": _ratio(sum_own, num_shared),
                "shared_iou_other": _ratio(sum_other, num_shared),
            }
            rows.append(row)
        return rows


@dataclass(frozen=True)
class Contender:
    """A rule on its candidates.

    Attributes:
        assigner: The rule.
        candidates: Makes what it chooses from; contenders with the same object have the same candidates.
    """

    assigner: Assigner
    candidates: Candidates


class Assigned(NamedTuple):
    """What one rule did to one image; boxes of prediction and targets are in the same unit."""

    prediction: Prediction
    targets: Targets
    matches: Matches


@dataclass(frozen=True)
class Laboratory:
    """Everything that an assignment needs.

    Attributes:
        annotations: The objects.
        input_sizes: Size that an image of each original size has as the network sees it.
        contenders: The rules to compare.
        shared_iou: IoU with a second object from which on a positive box counts as shared; None takes the ``tau`` of
            the rule, or ``DEFAULT_SHARED_IOU`` for a rule without one.
        seed: Of rules that draw at random; the draws of an image depend on its position alone.
    """

    annotations: CocoAnnotations
    input_sizes: Mapping[Size, Size]
    contenders: Sequence[Contender]
    shared_iou: float | None = None
    seed: int = 0

    def run(self, *, num_workers: int = 1) -> list[Outcome]:
        """Assign every image by every rule.

        Args:
            num_workers: Processes, from 1; changes no number.

        Returns:
            One outcome per rule.
        """
        require_int("num_workers", num_workers, low=1)
        if num_workers == 1:
            return self.assign(range(len(self.annotations)))
        shares = [range(start, len(self.annotations), num_workers) for start in range(num_workers)]
        with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(partial(_assign_share, self), shares))
        return [reduce(Outcome.__add__, outcomes) for outcomes in zip(*parts, strict=True)]

    def assign(self, indices: Sequence[int]) -> list[Outcome]:
        """Assign these images by every rule, in this process."""
        totals = [_nothing() for _ in self.contenders]
        by_size = defaultdict(list)
        for index in indices:
            by_size[self._size(index)].append(index)
        for size, own in by_size.items():  # candidates of one size at a time: those of all sizes would fill the memory
            made = self._candidates(size)
            for index in own:
                for k, (contender, found) in enumerate(zip(self.contenders, self._assigned(index, made), strict=True)):
                    shared = _shared(found, self._limit(contender.assigner))
                    counts = statistics(found.matches, found.prediction, found.targets)[0]
                    totals[k] += Outcome(counts.map(Tensor.double), shared)  # float32 counts to 16 million
        return totals

    def look(self, index: int) -> list[Assigned]:
        """What every rule does to one image."""
        return list(self._assigned(index, self._candidates(self._size(index))))

    def _size(self, index: int) -> Size:
        return self.input_sizes[self.annotations.size(index)]

    def _candidates(self, size: Size) -> Mapping[Candidates, Prediction]:
        return {candidates: candidates(size) for candidates in {each.candidates for each in self.contenders}}

    def _assigned(self, index: int, made: Mapping[Candidates, Prediction]) -> Iterator[Assigned]:
        objects = _targets(self.annotations, index, self._size(index))
        for contender in self.contenders:
            prediction = made[contender.candidates]
            targets = objects.in_unit_of(prediction)
            yield Assigned(
                prediction, targets, assign(contender.assigner, prediction, targets, Draw.of(self.seed, index))
            )

    def _limit(self, assigner: Assigner) -> float:
        return float(getattr(assigner, "tau", DEFAULT_SHARED_IOU)) if self.shared_iou is None else self.shared_iou


def _assign_share(laboratory: Laboratory, indices: Sequence[int]) -> list[Outcome]:
    torch.set_num_threads(1)
    return laboratory.assign(indices)


def _targets(annotations: CocoAnnotations, index: int, size: Size) -> Targets:
    """The objects of one image, all of class 0 as the first stage sees them; ``size`` is what the network sees."""
    rows = annotations.rows(index)
    height, width = annotations.size(index)
    is_crowd = torch.from_numpy(annotations.is_crowd[rows])
    corners = torch.from_numpy(annotations.boxes[rows]) / torch.tensor([width, height, width, height])
    boxes = box_convert(corners, "xyxy", "cxcywh")
    areas = torch.from_numpy(annotations.areas[rows])
    objects, crowds = boxes[~is_crowd], boxes[is_crowd]
    return Targets(
        boxes=objects[None],
        labels=torch.zeros(1, len(objects), dtype=torch.int64),
        is_object=torch.ones(1, len(objects), dtype=torch.bool),
        areas=areas[~is_crowd][None],
        ignore_boxes=crowds[None],
        is_ignore=torch.ones(1, len(crowds), dtype=torch.bool),
        sizes=torch.tensor([size], dtype=torch.float32),
        most_objects=len(objects),
    )


def _shared(found: Assigned, limit: float) -> SharedBoxes:
    """Of one image."""
    _, query, target = found.matches.pairs().unbind(1)
    boxes = box_convert(found.prediction.priors[0, query], "cxcywh", "xyxy")
    objects = box_convert(found.targets.boxes[0], "cxcywh", "xyxy")
    own = box_iou(boxes, objects[target])
    other = _highest_other(boxes, objects, target)
    is_shared = other >= limit
    size = found.targets.size_class()[0, target][is_shared]

    def by_size(values: Tensor) -> Tensor:
        return torch.bincount(size, weights=values[is_shared].double(), minlength=len(SIZE_NAMES))

    return SharedBoxes(by_size(torch.ones_like(own)), by_size(own), by_size(other))


def _highest_other(boxes: Tensor, objects: Tensor, target: Tensor) -> Tensor:
    """``[M]`` highest IoU of ``[M, 4]`` boxes with one of ``[T, 4]`` objects other than their own; -1 without one."""
    if len(objects) < 2:
        return torch.full_like(boxes[:, 0], -1.0)
    rows = max(1, LARGEST_TABLE // len(objects))
    parts = zip(boxes.split(rows), target.split(rows), strict=True)
    return torch.cat([pairwise_iou(box, objects).scatter(1, own[:, None], -1.0).amax(1) for box, own in parts])


def _nothing() -> Outcome:
    vector, scalar = torch.zeros(len(SIZE_NAMES)), torch.zeros(())
    statistics = MatchStatistics(
        num_images=scalar,
        num_objects=vector,
        num_positives=vector,
        num_unmatched=vector,
        sum_iou=vector,
        num_ignored=scalar,
    )
    empty = vector.double()
    return Outcome(statistics, SharedBoxes(empty, empty, empty))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
