"""What every detector with its criterion must do, through a whole training step."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from deta.losses import Criterion
from deta.models.postprocess import Postprocess
from deta.ops.random import Draw
from deta.structures import Batch, Losses, Prediction, TensorStruct
from deta.testing.harness import check, name_of, one_graph, require, require_equal, require_finite, require_tensor
from deta.testing.modules import ROUNDING, made, reloaded, require_all_trained
from deta.testing.scenes import objects, with_other_padding
from deta.training.step import StepResult, step

Build = Callable[[int], tuple[nn.Module, Criterion, Postprocess]]
"""Makes detector, criterion and post-processing for so many classes."""


@dataclass(frozen=True)
class Task(TensorStruct):
    """A batch, and the classes of its objects.

    Attributes:
        name: What is special about it.
        num_classes: Of the detector.
        batch: Two images or so.
    """

    name: str
    num_classes: int
    batch: Batch

    def __str__(self) -> str:
        return self.name


def task(
    name: str,
    *,
    counts: tuple[int, ...] = (5, 2),
    room: int = 8,
    size: tuple[int, int] = (64, 96),
    num_classes: int = 6,
) -> Task:
    """Random pictures, the second of which fills three quarters of each side."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    images = torch.randint(0, 256, (len(counts), 3, height, width), dtype=torch.uint8, generator=generator)
    is_padding = torch.zeros(len(counts), height, width, dtype=torch.bool)
    is_padding[1:2, height * 3 // 4 :] = True
    is_padding[1:2, :, width * 3 // 4 :] = True
    valid = torch.tensor([[height, width]]).repeat(len(counts), 1)
    valid[1:2] = valid[1:2] * 3 // 4
    targets = objects(counts, room, generator)
    targets = replace(targets, labels=targets.labels % num_classes, sizes=valid.float())
    images = images.masked_fill(is_padding[:, None], 0)
    return Task(name, num_classes, Batch(images, is_padding, targets, torch.arange(len(counts)), 5 * valid))


def check_system(build: Build, *, without: Collection[str] = ()) -> None:
    """Check a detector with its criterion and post-processing.

    Args:
        build: Makes them for a number of classes, without dropout (which eager and compiled steps draw otherwise).
        without: Names of properties (functions of ``deta.testing.systems``) that they do not promise.

    Raises:
        AssertionError: A property does not hold; the message names it and the input.
        ValueError: A name in ``without`` is none of a property.
    """
    usual, empty = task("objects and padding"), task("no object in any image", counts=(0, 0))
    every = [
        usual,
        empty,
        task("no room for objects", counts=(0, 0), room=0),
        task("one class", num_classes=1),
        task("images of 64 pixels", size=(64, 64)),
        task("objects in one image alone", counts=(0, 4)),
        task("many objects", counts=(40, 3), room=40),
    ]
    properties: dict[Callable[[Build, Task], None], list[Task]] = {
        predictions_and_detections_have_their_form: every,
        the_loss_trains_every_parameter: every,
        the_same_draw_gives_the_same_step: [usual],
        padding_does_not_matter: [usual],
        detections_are_those_of_every_image_alone: [usual],
        what_detects_does_not_know_the_objects: [usual],
        a_step_in_mixed_precision_has_a_float32_loss: [usual, empty],
        weights_are_all_that_a_detector_is: [usual],
        a_compiled_step_is_one_graph_and_gives_the_same: [usual],
    }
    check(build, properties, name=name_of(build), without=without)


def predictions_and_detections_have_their_form(build: Build, case: Task) -> None:
    """Shapes, types and ranges of every stage, of every term and of final boxes."""
    detector, criterion, postprocess = made(build, case.num_classes)
    result = step(detector, criterion, case.batch, Draw.of(0))
    num_images = len(case.batch)
    for key, stage in result.output.stages.items():
        count = stage.num_candidates
        require_tensor(stage.logits, f"logits of {key}", (num_images, count, stage.logits.shape[-1]), torch.float32)
        require_tensor(stage.priors, f"priors of {key}", (num_images, count, 4), torch.float32)
        require(stage.boxes.shape[:2] == (num_images, count) and stage.boxes.shape[-1] == 4, f"boxes of {key}")
        require_finite({"logits": stage.logits, "boxes": stage.boxes}, f"the stage {key}")
    losses = _losses(result)
    require_finite({"terms": losses.terms(), "total": losses.total()[None]}, "a loss")
    detections = postprocess(result.output.final, case.batch.original_sizes)
    places = detections.scores.shape[1]
    require_tensor(detections.boxes, "boxes", (num_images, places, 4), torch.float32)
    require_tensor(detections.labels, "labels", (num_images, places), torch.int64)
    require(bool(((detections.scores >= 0) & (detections.scores <= 1)).all()), "scores leave 0..1")
    require(bool((detections.scores[:, 1:] <= detections.scores[:, :-1]).all()), "scores do not descend")
    is_class = (detections.labels >= 0) & (detections.labels < case.num_classes)
    require(bool(is_class.all()), "a label is no class")
    empty = ~detections.is_detection
    require(not detections.boxes[empty].any() and not detections.scores[empty].any(), "padding of detections is not 0")
    require(not (detections.boxes.requires_grad or detections.scores.requires_grad), "detections carry a gradient")


def the_loss_trains_every_parameter(build: Build, case: Task) -> None:
    """The gradient of the loss reaches every parameter and is finite, with objects and without."""
    detector, criterion, _ = made(build, case.num_classes)
    result = step(detector, criterion, case.batch, Draw.of(0))
    require_all_trained(detector, _losses(result).total())


def the_same_draw_gives_the_same_step(build: Build, case: Task) -> None:
    """Two steps with one draw have one loss, and the evaluated detector gives the same twice."""
    detector, criterion, _ = made(build, case.num_classes)
    first, second = (_losses(step(detector, criterion, case.batch, Draw.of(4, 2))).terms() for _ in range(2))
    require_equal(second, first, "the terms, asked again")
    detector.eval()
    once, again = (_detected(detector, case.batch) for _ in range(2))
    _require_alike(again, once, "asked again", exactly=True)


def padding_does_not_matter(build: Build, case: Task) -> None:
    """Neither what lies under padded pixels nor what stands in padded objects changes a prediction or a loss."""
    detector, criterion, _ = made(build, case.num_classes)
    batch = case.batch
    noisy = replace(batch, images=torch.where(batch.is_padding[:, None], 255 - batch.images, batch.images))
    decoys = torch.rand(len(batch), 5, 4, generator=torch.Generator().manual_seed(1))
    padded = replace(batch, targets=with_other_padding(batch.targets, decoys))
    first, *others = (step(detector, criterion, each, Draw.of(0)) for each in (batch, noisy, padded))
    for what, other in zip(("other pixels under padding", "other objects in padding"), others, strict=True):
        _require_alike(other.output.final, first.output.final, f"with {what}", exactly=True)
        require_equal(_losses(other).terms(), _losses(first).terms(), f"the terms with {what}", **ROUNDING)


def detections_are_those_of_every_image_alone(build: Build, case: Task) -> None:
    """Evaluated alone, in the frame of the batch, an image has the predictions that it has in the batch."""
    detector, _, _ = made(build, case.num_classes)
    detector.eval()
    together = _detected(detector, case.batch)
    for index in range(len(case.batch)):
        alone = _detected(detector, case.batch.map(lambda tensor, at=index: tensor[at : at + 1]))  # type: ignore[misc]
        for name in ("logits", "boxes"):
            expected = getattr(together, name)[index : index + 1]
            require_equal(getattr(alone, name), expected, f"{name} of image {index} alone", **ROUNDING)


def what_detects_does_not_know_the_objects(build: Build, case: Task) -> None:
    """Evaluated with the objects given or without, the detector predicts the same."""
    detector, _, _ = made(build, case.num_classes)
    detector.eval()
    batch = case.batch
    with torch.no_grad():
        knowing = detector(batch.images, batch.is_padding, batch.targets, Draw.of(0)).final
    _require_alike(knowing, _detected(detector, batch), "with the objects given")


def a_step_in_mixed_precision_has_a_float32_loss(build: Build, case: Task) -> None:
    """Under autocast to bfloat16 predictions and losses are float32, and gradients finite."""
    detector, criterion, _ = made(build, case.num_classes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = step(detector, criterion, case.batch, Draw.of(0))
    for key, stage in result.output.stages.items():
        for name in ("logits", "boxes", "priors"):
            require(getattr(stage, name).dtype == torch.float32, f"{name} of {key} are {getattr(stage, name).dtype}")
    total = _losses(result).total()
    require_tensor(total, "the loss", (), torch.float32)
    require_all_trained(detector, total)


def weights_are_all_that_a_detector_is(build: Build, case: Task) -> None:
    """Another detector with the same weights predicts the same."""
    first, second = reloaded(lambda num_classes: build(num_classes)[0], case.num_classes)
    _require_alike(_detected(second, case.batch), _detected(first, case.batch), "with weights of a file", exactly=True)


def a_compiled_step_is_one_graph_and_gives_the_same(build: Build, case: Task) -> None:
    """``torch.compile(fullgraph=True)`` takes detector and criterion together, with the gradients of eager PyTorch."""
    detector, criterion, _ = made(build, case.num_classes)
    expected = _trained(step, detector, criterion, case.batch)
    with one_graph(step, with_backward=True) as compiled:
        found = _trained(compiled, detector, criterion, case.batch)
    for name, values in expected.items():
        require_equal(found[name], values, f"{name}, compiled", **ROUNDING)


def _trained(
    function: Callable[..., StepResult], detector: nn.Module, criterion: Criterion, batch: Batch
) -> dict[str, Tensor]:
    """Terms and gradients of a step."""
    losses = _losses(function(detector, criterion, batch, Draw.of(1)))
    weights = dict(detector.named_parameters())
    values = torch.autograd.grad(losses.total(), list(weights.values()), allow_unused=True, materialize_grads=True)
    named = {f"the gradient of {name}": value for name, value in zip(weights, values, strict=True)}
    return {"the terms": losses.terms().detach(), **named}


def _losses(result: StepResult) -> Losses:
    require(result.losses is not None, "the step has no losses")
    assert result.losses is not None
    return result.losses


def _detected(detector: nn.Module, batch: Batch) -> Prediction:
    with torch.no_grad():
        final: Prediction = detector(batch.images, batch.is_padding).final
    return final


def _require_alike(found: Prediction, expected: Prediction, when: str, *, exactly: bool = False) -> None:
    tolerance: dict[str, Any] = {} if exactly else ROUNDING
    for name in ("logits", "boxes"):
        require_equal(getattr(found, name).detach(), getattr(expected, name).detach(), f"{name} {when}", **tolerance)
