"""The assignment laboratory: what a rule does to annotated objects and anchors, without a network.

The candidates are the anchors of the first stage (arXiv:2010.04159, sec. 4.2). A rule that asks for predictions
sees the anchors as boxes and a logit of 0 for all.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from multiprocessing import get_context

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.assign import Assigner, Draw, assign, statistics
from deta.data.coco import CocoAnnotations
from deta.models.query.anchors import encoder_anchors
from deta.models.query.tokens import FeatureTokens
from deta.ops.iou import box_iou, pairwise_iou
from deta.structures import SIZE_NAMES, Features, Matches, MatchStatistics, Prediction, Targets
from deta.utils.checks import require_int, require_number

Size = tuple[int, int]
"""``(height, width)`` in pixels."""
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
        rescued = stats.noted.get("rescued", torch.zeros(len(SIZE_NAMES)))
        columns = (stats.num_objects, stats.num_positives, stats.num_unmatched, stats.sum_iou, rescued)
        vectors = [vector.double() for vector in (*columns, shared.num, shared.sum_own, shared.sum_other)]
        table = torch.stack([torch.cat((vector, vector.sum(0, keepdim=True))) for vector in vectors], dim=1)
        rows: list[dict[str, object]] = []
        for name, numbers in zip((*SIZE_NAMES, "all"), table.tolist(), strict=True):
            objects, positives, unmatched, sum_iou, rescued, num_shared, sum_own, sum_other = numbers
            row: dict[str, object] = {
                "size": name,
                "objects": round(objects),
                "positives": round(positives),
                "positives_per_object": _ratio(positives, objects),
                "unmatched": round(unmatched),
                "unmatched_share": _ratio(unmatched, objects),
                "mean_iou": _ratio(sum_iou, positives),
                "rescued_share": _ratio(rescued, positives),
                "shared": round(num_shared),
                "shared_share": _ratio(num_shared, positives),
                "shared_iou_own": _ratio(sum_own, num_shared),
                "shared_iou_other": _ratio(sum_other, num_shared),
            }
            rows.append(row)
        return rows


class AnchorGrid:
    """The anchors that the first stage starts from, for an image of any size.

    Args:
        strides: Pixels per cell of every level, finest first; a level has ``ceil(side / stride)`` cells.
        scale: Width and height on the finest level, as fraction of the image.
        growth: Factor on them from one level to the next.
    """

    def __init__(
        self, *, strides: Sequence[int] = (8, 16, 32, 64, 128), scale: float = 0.05, growth: float = 2.0
    ) -> None:
        if not strides:
            raise ValueError("anchors.strides must name at least one level, got none")
        self._strides = tuple(require_int("anchors.strides", stride, low=1) for stride in strides)
        self._scale = require_number("anchors.scale", scale, low=0, high=1)
        self._growth = require_number("anchors.growth", growth, low=0)

    def __call__(self, size: Size) -> Prediction:
        """The anchors as the boxes that one image of this size has in the first stage, with equal scores."""
        shapes = tuple((-(-size[0] // stride), -(-size[1] // stride)) for stride in self._strides)
        levels = Features(
            maps=tuple(torch.zeros(1, 0, *shape) for shape in shapes),
            is_padding=tuple(torch.zeros(1, *shape, dtype=torch.bool) for shape in shapes),
            strides=self._strides,
            image_sizes=torch.tensor([size], dtype=torch.float32),
        )
        memory = FeatureTokens.of(levels)
        anchors, is_valid = encoder_anchors(memory, self._scale, self._growth)
        return Prediction(
            logits=anchors.new_zeros(*anchors.shape[:2], 1),
            boxes=anchors,
            priors=anchors,
            frame=levels.frame(),
            may_match=is_valid,
            grid=tuple((height, width, 1) for height, width in shapes),
            levels=memory.levels(),
            strides=memory.strides_of_tokens(),
        )


@dataclass(frozen=True)
class Laboratory:
    """Everything that an assignment needs.

    Attributes:
        annotations: The objects.
        input_sizes: Size that an image of each original size has as the network sees it.
        anchors: Makes the candidates.
        assigners: The rules to compare.
        shared_iou: IoU with a second object from which on a positive box counts as shared; None takes the ``tau`` of
            the rule, or ``DEFAULT_SHARED_IOU`` for a rule without one.
        seed: Of rules that draw at random; the draws of an image depend on its position alone.
    """

    annotations: CocoAnnotations
    input_sizes: Mapping[Size, Size]
    anchors: AnchorGrid
    assigners: Sequence[Assigner]
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
        made: dict[Size, Prediction] = {}
        totals = [_nothing() for _ in self.assigners]
        for index in indices:
            size = self.input_sizes[self.annotations.size(index)]
            if size not in made:
                made[size] = self.anchors(size)
            prediction, targets = made[size], _targets(self.annotations, index, size)
            for k, assigner in enumerate(self.assigners):
                matches = assign(assigner, prediction, targets, Draw.of(self.seed, index))
                shared = _shared(matches, prediction, targets, self._limit(assigner))
                totals[k] += Outcome(statistics(matches, prediction, targets)[0], shared)
        return totals

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


def _shared(matches: Matches, prediction: Prediction, targets: Targets, limit: float) -> SharedBoxes:
    """Of one image."""
    _, query, target = matches.pairs().unbind(1)
    boxes = box_convert(prediction.priors[0, query], "cxcywh", "xyxy")
    objects = box_convert(targets.boxes[0], "cxcywh", "xyxy")
    own = box_iou(boxes, objects[target])
    others = pairwise_iou(boxes, objects).scatter(1, target[:, None], -1.0)
    other = others.amax(1) if others.shape[1] > 1 else torch.full_like(own, -1.0)
    is_shared = other >= limit
    size = targets.size_class()[0, target][is_shared]

    def by_size(values: Tensor) -> Tensor:
        return torch.bincount(size, weights=values[is_shared].double(), minlength=len(SIZE_NAMES))

    return SharedBoxes(by_size(torch.ones_like(own)), by_size(own), by_size(other))


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
