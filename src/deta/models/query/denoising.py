"""Denoising queries: objects with noise, which the decoder learns to undo."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.models.query.groups import QueryGroup, Sees
from deta.models.query.sources import QuerySource
from deta.models.query.tokens import FeatureTokens, Queries
from deta.ops.boxes import to_corners
from deta.ops.logit import inverse_sigmoid
from deta.ops.random import Draw
from deta.structures import BACKGROUND, IGNORED, Prediction, Targets
from deta.utils.checks import require_bool, require_int, require_number


@dataclass(frozen=True)
class Slots:
    """Places of denoising queries: blocks, in each block kinds, in each kind a place for every object of an image.

    Attributes:
        blocks: Number of blocks, of which each sees itself alone.
        kinds: Number of queries that a block has for an object.
        objects: Places for objects: the first ones of an image.
    """

    blocks: int
    kinds: int
    objects: int

    def limited(self, most: int | None) -> "Slots":
        """At most ``most`` places: fewer blocks, and where one is too many, the first objects alone."""
        if most is None or self.objects == 0:
            return self
        size = self.kinds * self.objects
        return Slots(max(1, min(self.blocks, most // size)), self.kinds, min(self.objects, most // self.kinds))

    def spread(self, values: Tensor) -> Tensor:
        """``[B, blocks * kinds, objects, ...]`` of ``[B, T, ...]`` of the objects."""
        values = values[:, None, : self.objects]
        return values.expand(-1, self.blocks * self.kinds, *values.shape[2:])


class DenoisingQueries(QueryGroup):
    """Some groups of queries, each with one for every object, whose label and box have noise.

    Queries of a group see each other and those that detect. Places without object hold zeros, are seen by their group
    and do not exist: they are in no loss.

    Source: arXiv:2203.01305, sec. 4.

    Args:
        source: That of the main queries, whose labels these start with.
        groups: Queries of an object.
        label_noise: Probability that a label is drawn anew, of all classes, 0..1.
        box_noise: Largest shift of a centre, in halves of the box, and largest change of a side, in sides, at least 0.
        max_slots: Most queries of an image; with more, there are fewer groups, and where one group is too many, only
            the first objects of an image have a query: the statistics of the assignment count the others as
            unmatched. None is no limit.
        logit_eps: Least distance of reference coordinates from 0 and 1, see ``inverse_sigmoid``.
        only_in_training: See ``QueryGroup``.

    Raises:
        ValueError: An argument lies outside its range, or the source has no labels or no boxes.
    """

    sees: Sees = "main"
    kinds = 1
    unused = IGNORED

    def __init__(
        self,
        *,
        source: QuerySource,
        groups: int = 5,
        label_noise: float = 0.2,
        box_noise: float = 0.4,
        max_slots: int | None = None,
        logit_eps: float = 1e-3,
        only_in_training: bool = False,
    ) -> None:
        super().__init__()
        source.known_labels()
        self.only_in_training = require_bool("only_in_training", only_in_training)
        self.num_groups = require_int("groups", groups, low=1)
        self.label_noise = require_number("label_noise", label_noise, low=0, high=1)
        self.box_noise = require_number("box_noise", box_noise, low=0)
        self.max_slots = None if max_slots is None else require_int("max_slots", max_slots, low=self.kinds)
        self.logit_eps = require_number("logit_eps", logit_eps, low=0, high=0.5)

    def forward(
        self,
        source: QuerySource,
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
        targets: Targets,
        draw: Draw,
    ) -> Queries:
        """Queries of the objects, group by group, ``[B, slots, ...]``; none where no image has an object."""
        del memory, main, first
        slots = Slots(self.blocks(targets.most_objects), self.kinds, targets.most_objects).limited(self.max_slots)
        labels, boxes = slots.spread(targets.labels), slots.spread(targets.boxes)  # [B, R, T], [B, R, T, 4]
        is_used = slots.spread(targets.is_object).flatten(1)  # [B, Q]
        place = torch.arange(slots.objects, device=labels.device).expand_as(labels).flatten(1)  # [B, Q]
        labels = self.noised_labels(labels, source.known_labels().num_classes, draw).flatten(1)  # [B, Q]
        boxes = self.noised_boxes(boxes, draw).flatten(1, 2)  # [B, Q, 4]
        boxes = torch.where(is_used[..., None], inverse_sigmoid(boxes, self.logit_eps).sigmoid(), 0.5)
        queries = source.encode(labels, boxes)
        block = torch.arange(slots.blocks, device=labels.device).repeat_interleave(slots.kinds * slots.objects)
        return replace(
            queries,
            content=queries.content * is_used[..., None],  # [B, Q, D]
            block=block,  # [Q]
            given=torch.where(is_used & self.is_positive(slots, place), place, self.unused),
            exists=is_used if self.unused == IGNORED else None,
        )

    def blocks(self, most_objects: int) -> int:
        """Number of groups where an image has at most so many objects."""
        return self.num_groups

    def is_positive(self, slots: Slots, place: Tensor) -> Tensor:
        """``[B, Q]`` bool, whether the query at a place is made to find the object."""
        return torch.ones_like(place, dtype=torch.bool)

    def noised_labels(self, labels: Tensor, num_classes: int, draw: Draw) -> Tensor:
        """``[B, R, T]`` labels, some of which are drawn anew."""
        chance, drawn = (draw.uniform(name, labels.shape, labels.device) for name in ("relabelled", "label"))
        return relabelled(labels, chance < self.label_noise, drawn, num_classes)

    def noised_boxes(self, boxes: Tensor, draw: Draw) -> Tensor:
        """``[B, R, T, 4]`` ``cxcywh`` boxes beside the objects, in 0..1."""
        return moved_boxes(boxes, draw.uniform("box", boxes.shape, boxes.device), self.box_noise)


class ContrastiveDenoisingQueries(DenoisingQueries):
    """Groups with two queries for every object: one near it, and one further off, which is to find nothing.

    A group holds first those that are near, then those that are further off. Places without object exist, and are
    trained as background.

    Source: arXiv:2203.03605, sec. 3.3, and its release.

    Args:
        source: See ``DenoisingQueries``.
        number: Queries near objects, of all groups of the fullest image; the number of groups follows from it, at
            least 1. Below 50 it is half of the number of groups, as in the release.
        label_noise: Probability that a label is drawn anew; half of the ratio that is published (0.5).
        box_noise: Largest shift of a side of a box near its object, in halves of the box, at least 0; sides of those
            further off are shifted by up to twice as much, and at least by so much.
        max_slots: See ``DenoisingQueries``; at least 2.
        logit_eps: See ``DenoisingQueries``.
        only_in_training: See ``QueryGroup``.

    Raises:
        ValueError: An argument lies outside its range, or the source has no labels or no boxes.
    """

    kinds = 2
    unused = BACKGROUND

    def __init__(
        self,
        *,
        source: QuerySource,
        number: int = 100,
        label_noise: float = 0.25,
        box_noise: float = 1.0,
        max_slots: int | None = None,
        logit_eps: float = 1e-3,
        only_in_training: bool = False,
    ) -> None:
        super().__init__(
            source=source,
            label_noise=label_noise,
            box_noise=box_noise,
            max_slots=max_slots,
            logit_eps=logit_eps,
            only_in_training=only_in_training,
        )
        self.number = require_int("number", number, low=1)

    def blocks(self, most_objects: int) -> int:
        """Number of groups where an image has at most so many objects."""
        if most_objects == 0:
            return 1
        return 2 * self.number if self.number < _LEAST_NUMBER else max(1, self.number // most_objects)

    def is_positive(self, slots: Slots, place: Tensor) -> Tensor:
        """``[B, Q]`` bool, whether the query at a place is one near its object."""
        number = torch.arange(place.shape[1], device=place.device)
        return (number % max(1, slots.kinds * slots.objects) < slots.objects).expand_as(place)

    def noised_boxes(self, boxes: Tensor, draw: Draw) -> Tensor:
        """``[B, R, T, 4]`` ``cxcywh`` boxes beside the objects; some lie inside out, with negative sides."""
        sign, part = (draw.uniform(name, boxes.shape, boxes.device) for name in ("sign", "box"))
        is_far = torch.arange(boxes.shape[1], device=boxes.device) % 2 == 1
        return moved_sides(boxes, torch.where(sign < 0.5, -1.0, 1.0), part + is_far[:, None, None], self.box_noise)


_LEAST_NUMBER = 50


def relabelled(labels: Tensor, is_drawn: Tensor, drawn: Tensor, num_classes: int) -> Tensor:
    """Labels of which those chosen by ``is_drawn`` are any of all classes, the true one among them.

    Args:
        labels: Any shape, int64.
        is_drawn: The same shape, bool.
        drawn: The same shape, uniform in [0, 1).
        num_classes: Categories.
    """
    # The largest number below 1 times many classes may round to their number.
    others = (drawn * num_classes).long().clamp(max=num_classes - 1)
    return torch.where(is_drawn, others, labels)


def moved_boxes(boxes: Tensor, drawn: Tensor, scale: float) -> Tensor:
    """Boxes with another centre and another size, of which each number is limited to 0..1.

    Args:
        boxes: ``[..., 4]`` ``cxcywh``.
        drawn: ``[..., 4]``, uniform in [0, 1).
        scale: Largest shift of a centre in halves of the box, and largest change of a side in sides.
    """
    sizes = boxes[..., 2:]
    return (boxes + (2 * drawn - 1) * torch.cat((sizes / 2, sizes), dim=-1) * scale).clamp(0, 1)


def moved_sides(boxes: Tensor, sign: Tensor, part: Tensor, scale: float) -> Tensor:
    """Boxes of which each side lies elsewhere, limited to 0..1; a side may come to lie beyond the opposite one.

    Args:
        boxes: ``[..., 4]`` ``cxcywh``.
        sign: ``[..., 4]``, -1 or 1: to which side.
        part: ``[..., 4]``, at least 0: how far.
        scale: Shift of a ``part`` of 1, in halves of the box.

    Returns:
        ``[..., 4]`` ``cxcywh``; width and height may be negative.
    """
    halves = boxes[..., 2:] / 2
    corners = to_corners(boxes) + sign * part * torch.cat((halves, halves), dim=-1) * scale
    moved: Tensor = box_convert(corners.clamp(0, 1), "xyxy", "cxcywh")
    return moved
