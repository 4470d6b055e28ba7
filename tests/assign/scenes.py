"""Small scenes for assignment tests."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from deta.assign import Assigner, Draw, assign
from deta.assign import statistics as count
from deta.structures import Matches, MatchStatistics, Prediction, Targets

Box = tuple[float, float, float, float]


def objects(*images: Sequence[Box], areas: float = 50.0**2) -> Targets:
    """Targets with the given ``cxcywh`` boxes per image, padded; the label of an object is its index."""
    most = max((len(image) for image in images), default=0)
    boxes = torch.zeros(len(images), most, 4)
    is_object = torch.zeros(len(images), most, dtype=torch.bool)
    for row, image in enumerate(images):
        if image:
            boxes[row, : len(image)] = torch.tensor(image)
        is_object[row, : len(image)] = True
    return Targets(
        boxes=boxes,
        labels=torch.arange(most).repeat(len(images), 1) * is_object,
        is_object=is_object,
        areas=areas * is_object,
        ignore_boxes=torch.zeros(len(images), 0, 4),
        is_ignore=torch.zeros(len(images), 0, dtype=torch.bool),
        sizes=torch.full((len(images), 2), 100.0),
        most_objects=most,
    )


def assigned(rule: Assigner, prediction: Prediction, targets: Targets, seed: int = 0) -> Matches:
    """The answer of a rule alone."""
    return assign(rule, prediction, targets, Draw.of(seed))


def statistics(matches: Matches, prediction: Prediction, targets: Targets) -> MatchStatistics:
    """What the assignment of a whole batch did."""
    return count(matches, prediction, targets)[0]


def candidates(*images: Sequence[Box], num_classes: int = 8) -> Prediction:
    """Candidates with the given ``cxcywh`` priors, which are also the predictions; all may match."""
    boxes = torch.tensor(images).view(len(images), -1, 4)
    logits = torch.zeros(*boxes.shape[:2], num_classes)
    return Prediction(logits=logits, boxes=boxes, priors=boxes, frame=frame(len(images)))


def in_pixels(*boxes: Box, strides: Sequence[float] | None = None, **parts: Tensor) -> Prediction:
    """Candidates of one image whose ``cxcywh`` boxes are in pixels, as those of ``objects`` are then.

    Args:
        boxes: Priors, which are also the predictions.
        strides: Of every candidate; equal ones are one level.
        parts: Of the prediction, in place of these.
    """
    prediction = candidates(boxes)
    if strides is not None:
        values = torch.tensor([list(strides)])
        parts |= {"strides": values, "levels": values.unique(return_inverse=True)[1]}
    changed: dict[str, Any] = {"frame": None, **parts}
    return replace(prediction, **changed)


def frame(num_images: int) -> Tensor:
    """Of ``objects``."""
    return torch.full((num_images, 4), 100.0)


def random_boxes(generator: torch.Generator, *shape: int) -> Tensor:
    """``[*shape, 4]`` random ``cxcywh`` boxes of quite different size."""
    centre = torch.rand(*shape, 2, generator=generator)
    size = 0.05 + 0.45 * torch.rand(*shape, 2, generator=generator) ** 2
    return torch.cat((centre, size), dim=-1)


def random_scene(
    seed: int, *, num_queries: int = 60, sizes: Sequence[int] = (5, 0, 1, 9), num_classes: int = 12
) -> tuple[Prediction, Targets]:
    """Random objects, and candidates half of which lie near an object."""
    generator = torch.Generator().manual_seed(seed)
    targets = objects(*[[(0.5, 0.5, 0.1, 0.1)] * size for size in sizes])
    boxes = random_boxes(generator, *targets.is_object.shape) * targets.is_object[..., None]
    targets = targets.map(lambda tensor: boxes if tensor is targets.boxes else tensor)
    queries = random_boxes(generator, len(sizes), num_queries)
    for image, size in enumerate(sizes):
        if size:
            near = torch.randint(size, (num_queries // 2,), generator=generator)
            jitter = 1 + 0.15 * torch.randn(num_queries // 2, 4, generator=generator)
            queries[image, : num_queries // 2] = boxes[image, near] * jitter
    return (
        Prediction(
            logits=torch.randn(*queries.shape[:2], num_classes, generator=generator),
            boxes=queries,
            priors=queries,
            frame=targets.frame(),
            may_match=torch.rand(queries.shape[:2], generator=generator) > 0.1,
        ),
        targets,
    )
