"""Predictions and objects on which parts are checked: ordinary ones, and what breaks rules and losses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import itemgetter
from typing import Any, Self

import torch
from torch import Tensor

from deta.ops.random import Draw
from deta.ops.rows import take_rows
from deta.structures import BACKGROUND, FederatedLabels, Prediction, Targets, TensorStruct

NUM_CLASSES = 6
NUM_CANDIDATES = 24
COUNTS = (5, 0, 3)
"""Objects of the images; no two dimensions of an ordinary scene are equally long: each is known by its length."""
ROOM = 11
"""Places for objects of an image, padding included."""


@dataclass(frozen=True)
class Scene(TensorStruct):
    """Input of a rule.

    Attributes:
        name: What is special about it.
        prediction: B images.
        targets: Their objects.
    """

    name: str
    prediction: Prediction
    targets: Targets

    def __str__(self) -> str:
        return self.name

    def image(self, index: int) -> Self:
        """One image of it alone."""
        return self.map(itemgetter(slice(index, index + 1)))


@dataclass(frozen=True)
class WitnessedDraw(Draw):
    """A draw that keeps what it has given.

    Attributes:
        given: Numbers by path and name, as ``recorded`` takes them.
    """

    given: dict[str, Tensor] = field(default_factory=dict)

    def uniform(self, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        """Numbers of 0..1 as ``Draw`` gives them, which are kept."""
        values = super().uniform(name, shape, device)
        self.given[f"{self.scope}/{name}" if self.scope else name] = values
        return values

    def rearranged(self, function: Callable[[Tensor], Tensor]) -> Draw:
        """A draw that gives the same numbers, changed by ``function``."""
        return Draw(self.key, recorded={path: function(values) for path, values in self.given.items()})


def scenes(needs: Sequence[str] = ()) -> list[Scene]:
    """The ordinary scene and all that is special.

    Args:
        needs: Optional parts of a prediction that are there in every scene.
    """
    usual = ordinary()
    prediction, targets = usual.prediction, usual.targets
    missing: dict[str, Any] = {name: None for name in ("exists", "may_match", *_OPTIONAL) if name not in needs}
    none = torch.zeros_like(targets.is_object)
    nowhere = torch.zeros_like(prediction.can_match())
    huge = prediction.logits * 1e4
    boxes = targets.boxes
    special = [
        usual,
        scene("no room for objects", room=0, counts=(0, 0, 0)),
        scene("padding in place of all objects", counts=(0, 0, 0)),
        scene("one image with one object", counts=(1,), room=1),
        scene("more objects than candidates", num_candidates=4),
        scene("no candidates", num_candidates=0),
        replace(usual, name="nothing but logits and boxes", prediction=replace(prediction, **missing)),
        replace(usual, name="no candidate that may match", prediction=replace(prediction, may_match=nowhere)),
        replace(usual, name="no candidate that exists", prediction=replace(prediction, exists=nowhere)),
        replace(usual, name="every object three times", targets=targets.repeat_objects(3)),
        tied(),
        replace(usual, name="objects without area", targets=replace(targets, boxes=boxes * _factor(0.0))),
        replace(usual, name="objects larger than the image", targets=replace(targets, boxes=boxes * _factor(9.0))),
        replace(usual, name="objects beyond the image", targets=replace(targets, boxes=boxes + 3 * (boxes > 0))),
        replace(
            usual, name="padding between objects", targets=replace(targets, is_object=none | _every_second(targets))
        ),
        replace(usual, name="logits of plus and minus ten thousand", prediction=replace(prediction, logits=huge)),
    ]
    return [_with_given_that_can_be(each) for each in special]


def ordinary() -> Scene:
    """Three images with 5, 0 and 3 objects and padding, near which half of the candidates lie."""
    return scene("objects and padding")


def tied() -> Scene:
    """Candidates and objects that are all alike."""
    usual = ordinary()
    first = usual.prediction.boxes[:1, :1]
    prediction = replace(
        usual.prediction,
        logits=torch.zeros_like(usual.prediction.logits),
        boxes=first.expand_as(usual.prediction.boxes).clone(),
        priors=first.expand_as(usual.prediction.priors).clone(),
    )
    boxes = first * usual.targets.is_object[..., None]
    labels = torch.zeros_like(usual.targets.labels)
    return Scene("ties everywhere", prediction, replace(usual.targets, boxes=boxes, labels=labels))


def not_finite() -> Scene:
    """Every third candidate is NaN or infinite, as after a step that went wrong."""
    usual = ordinary()
    wrong = torch.tensor([torch.nan, torch.inf, -torch.inf]).repeat(NUM_CANDIDATES)[:NUM_CANDIDATES]
    is_wrong = (torch.arange(NUM_CANDIDATES) % 3 == 0)[None, :, None]
    parts: dict[str, Any] = {
        name: torch.where(is_wrong, wrong[None, :, None], getattr(usual.prediction, name))
        for name in ("logits", "boxes", "priors")
    }
    return replace(usual, name="predictions that are not finite", prediction=replace(usual.prediction, **parts))


def scene(
    name: str, *, counts: Sequence[int] = COUNTS, room: int = ROOM, num_candidates: int = NUM_CANDIDATES, seed: int = 0
) -> Scene:
    """Random objects, and candidates half of which lie near an object; all optional parts are there but the grid."""
    generator = torch.Generator().manual_seed(seed)
    targets = objects(counts, room, generator)
    shape = (len(counts), num_candidates)
    boxes = random_boxes(generator, *shape)
    owner = torch.full(shape, BACKGROUND)
    for image, count in enumerate(counts):
        if count:
            owner[image, ::2] = torch.randint(count, (len(owner[image, ::2]),), generator=generator)
    if room:
        near = targets.boxes.gather(1, owner.clamp(min=0)[..., None].expand(*shape, 4))
        jitter = 1 + 0.1 * torch.randn(*shape, 4, generator=generator)
        boxes = torch.where(owner[..., None] >= 0, near * jitter, boxes)
    exists, may_match = (torch.rand(shape, generator=generator) > 0.1 for _ in range(2))
    levels = torch.randint(3, shape, generator=generator)
    prediction = Prediction(
        logits=2 * torch.randn(*shape, NUM_CLASSES, generator=generator) - 2,
        boxes=boxes * (1 + 0.05 * torch.randn(*shape, 4, generator=generator)),
        priors=boxes,
        frame=targets.frame(),
        exists=exists,
        may_match=may_match,
        levels=levels,
        strides=8.0 * 2**levels,
        quality=torch.randn(shape, generator=generator),
        given=torch.where(exists & may_match, owner, BACKGROUND),
        code=torch.randn(*shape, 4, generator=generator),
        source=torch.arange(num_candidates).expand(shape).clone(),
    )
    return Scene(name, prediction, targets)


def objects(counts: Sequence[int], room: int, generator: torch.Generator) -> Targets:
    """Random objects of every class and size, with crowds, padded to ``room``."""
    num_images = len(counts)
    is_object = torch.arange(room) < torch.tensor(counts)[:, None]  # [B, T]
    boxes = random_boxes(generator, num_images, room) * is_object[..., None]
    sizes = torch.tensor([[96.0, 128.0]]).repeat(num_images, 1)
    is_ignore = torch.tensor([[True, False]]).repeat(num_images, 1)
    return Targets(
        boxes=boxes,
        labels=torch.randint(NUM_CLASSES, is_object.shape, generator=generator) * is_object,
        is_object=is_object,
        areas=boxes[..., 2] * boxes[..., 3] * 500**2,
        ignore_boxes=random_boxes(generator, num_images, 2) * is_ignore[..., None],
        is_ignore=is_ignore,
        sizes=sizes,
        most_objects=max(counts, default=0),
    )


def random_boxes(generator: torch.Generator, *shape: int) -> Tensor:
    """``[*shape, 4]`` random ``cxcywh`` boxes of quite different size."""
    centre = 0.1 + 0.8 * torch.rand(*shape, 2, generator=generator)
    size = 0.05 + 0.45 * torch.rand(*shape, 2, generator=generator) ** 2
    return torch.cat((centre, size), dim=-1)


def on_one_grid(each: Scene) -> Scene:
    """The same, with candidates that are the cells of one grid."""
    count = each.prediction.num_candidates
    rows = 4 if count % 4 == 0 else 1
    stride = 24.0  # six columns of an ordinary scene fill four thirds of the image, four rows all of it
    levels = torch.zeros(each.prediction.logits.shape[:2], dtype=torch.int64)
    parts: dict[str, Any] = {"levels": levels, "strides": levels + stride, "grid": ((rows, count // rows, 1),)}
    return replace(each, prediction=replace(each.prediction, **parts))


def with_other_padding(targets: Targets, boxes: Tensor) -> Targets:
    """The same objects with three more places, and ``boxes`` (``[B, N, 4]``) with odd labels in all padding."""
    wide: dict[str, Any] = {}
    for name in ("boxes", "labels", "is_object", "areas"):
        part = getattr(targets, name)
        wide[name] = torch.cat((part, part.new_zeros(part.shape[0], 3, *part.shape[2:])), dim=1)
    is_padding = ~wide["is_object"]
    place = torch.arange(is_padding.shape[1]) % max(boxes.shape[1], 1)
    decoys = boxes[:, place] if boxes.shape[1] else wide["boxes"]
    wide["boxes"] = torch.where(is_padding[..., None], decoys, wide["boxes"])
    wide["labels"] = torch.where(is_padding, place % NUM_CLASSES, wide["labels"])
    wide["areas"] = torch.where(is_padding, 40.0**2, wide["areas"])
    return replace(targets, **wide)


def in_order_of_candidates(prediction: Prediction, order: Tensor) -> Prediction:
    """The candidates ``order``; parts of whole images stay."""
    chosen: dict[str, Any] = {
        part.name: value.index_select(1 if value.dim() > 1 else 0, order)
        for part in fields(prediction)
        if part.name != "frame" and isinstance(value := getattr(prediction, part.name), Tensor)
    }
    return replace(prediction, **chosen, grid=None)


def in_order_of_objects(targets: Targets, order: Tensor) -> Targets:
    """The places ``order`` of all objects, padding included."""
    names = ("boxes", "labels", "is_object", "areas")
    return replace(targets, **{name: getattr(targets, name)[:, order] for name in names})


def federated(targets: Targets) -> Targets:
    """The same where only some classes were looked for in an image."""
    rows = torch.tensor([[0, 1], [2, -1], [-1, -1]])[: len(targets.boxes)]
    return replace(targets, federated=FederatedLabels(negative=rows, not_exhaustive=rows.flip(0), sampled=rows + 2))


def permutation(length: int, seed: int = 1) -> Tensor:
    """``[length]`` int64 random order."""
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed))


def _with_given_that_can_be(each: Scene) -> Scene:
    """Only candidates that can match are made for an object, and only for one that is there."""
    given, is_object = each.prediction.given, each.targets.is_object
    if given is None:
        return each
    can_be = (given >= 0) & each.prediction.can_match() & (take_rows(is_object.long(), given) > 0)
    return replace(each, prediction=replace(each.prediction, given=torch.where(can_be, given, BACKGROUND)))


_OPTIONAL = ("levels", "strides", "quality", "code", "given", "source")


def _factor(size: float) -> Tensor:
    return torch.tensor([1.0, 1.0, size, size])


def _every_second(targets: Targets) -> Tensor:
    return targets.is_object & (torch.arange(targets.is_object.shape[1]) % 2 == 0)
