"""The assignment laboratory on boxes that a program holds as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchvision.ops import box_convert

from deta.analysis.candidates import Size
from deta.analysis.laboratory import Contender, Laboratory, Outcome
from deta.data.categories import Categories
from deta.data.coco import AnnotationReport, CocoAnnotations
from deta.ops.logit import inverse_sigmoid
from deta.runs.table import aligned
from deta.structures import SIZE_NAMES, Prediction
from deta.utils.checks import require_int, require_number

Arrays = ArrayLike | Tensor | Sequence[Tensor]
"""Numbers as an array, a tensor or nested lists, of one image, or a list of these with one for each image."""
_SHARES = ("unmatched_share", "mean_iou", "contested_share", "shared_share")


@dataclass(frozen=True)
class GivenBoxes:
    """Candidates of one image, whatever its size.

    Attributes:
        boxes: ``[N, 4]`` ``xyxy`` in pixels.
        scores: ``[N]`` in 0..1.
    """

    boxes: Tensor
    scores: Tensor
    is_point = False

    def __call__(self, size: Size) -> Prediction:
        """The candidates, relative to an image of this size."""
        frame = torch.tensor([[size[1], size[0]] * 2], dtype=torch.float32)  # [1, 4]
        boxes = box_convert(self.boxes, "xyxy", "cxcywh")[None] / frame  # [1, N, 4]
        return Prediction(
            logits=inverse_sigmoid(self.scores, 1e-5)[None, :, None], boxes=boxes, priors=boxes, frame=frame
        )


@dataclass(frozen=True)
class RuleComparison:
    """What rules did to the same objects.

    Attributes:
        outcomes: By the name of the rule, over all images.
        targets: By the name of the rule, for every image ``[N]`` int64: the object that a candidate answers for, -1 for
            background, -2 for one that is left out of the classification loss.
    """

    outcomes: Mapping[str, Outcome]
    targets: Mapping[str, list[NDArray[np.int64]]]

    def rows(self) -> list[dict[str, object]]:
        """One row per rule and object size, and one per rule for all sizes; a share of nothing is None."""
        return [{"rule": name, **row} for name, outcome in self.outcomes.items() for row in outcome.rows()]

    def __str__(self) -> str:
        sizes = ("all", *SIZE_NAMES)
        cells = [["rule", *(f"positives {size}" for size in sizes), *_SHARES, ""]]
        for name, outcome in self.outcomes.items():
            rows = {row["size"]: row for row in outcome.rows()}
            numbers = [rows[size]["positives_per_object"] for size in sizes]
            numbers += [rows["all"][share] for share in _SHARES]
            cells.append([name, *(f"{value:.3f}" if isinstance(value, float) else "-" for value in numbers), ""])
        return "\n".join(aligned(cells, range(1, len(cells[0])), None))


def assign_given(
    contenders: Mapping[str, Contender],
    boxes: Arrays,
    sizes: Arrays,
    candidates: Arrays | None,
    scores: Arrays | None,
    *,
    shared_iou: float | None,
    seed: int,
) -> RuleComparison:
    """Assign by every rule; everything is as of ``deta.compare_rules``.

    Raises:
        ValueError: Shapes do not fit.
    """
    require_int("seed", seed, low=0)
    if shared_iou is not None:
        require_number("shared_iou", shared_iou, low=0, high=1)
    objects = _per_image("boxes", boxes, 2)
    shapes = [(require_int("sizes", h, low=1), require_int("sizes", w, low=1)) for h, w in _sizes(sizes)]
    given = None if candidates is None else _per_image("candidates", candidates, 2)
    told = None if scores is None else _per_image("scores", scores, 1)
    if told is not None and given is None:
        raise ValueError("scores are those of candidates: give both")
    if told is not None and not all(bool(((part >= 0) & (part <= 1)).all()) for part in told):
        raise ValueError("scores must lie in 0..1: those of logits are their sigmoid")
    lengths = {"sizes": len(shapes), "candidates": len(given or [0]), "scores": len(told or [0])}
    for name, length in lengths.items():
        if length not in (1, len(objects)):
            raise ValueError(f"{name} must be given once or for each of {len(objects)} images, got {length}")
    totals: dict[str, list[Outcome]] = {name: [] for name in contenders}
    targets: dict[str, list[NDArray[np.int64]]] = {name: [] for name in contenders}
    for index, own in enumerate(objects):
        size = shapes[index % len(shapes)]
        chosen = list(contenders.values())
        if given is not None:
            values = given[index % len(given)]
            own_scores = torch.full((len(values),), 0.5) if told is None else told[index % len(told)]
            if len(own_scores) != len(values):
                raise ValueError(f"scores must be one for each of {len(values)} candidates, got {len(own_scores)}")
            made = GivenBoxes(values, own_scores)
            chosen = [replace(contender, candidates=made) for contender in chosen]
        laboratory = Laboratory(_annotations(own, size, index), {size: size}, chosen, shared_iou, seed + index)
        for name, outcome, assigned in zip(contenders, laboratory.assign([0]), laboratory.look(0), strict=True):
            totals[name].append(outcome)
            targets[name].append(assigned.matches.target[0].numpy())
    return RuleComparison({name: reduce(Outcome.__add__, parts) for name, parts in totals.items()}, targets)


def _sizes(sizes: Arrays) -> list[list[int]]:
    array: NDArray[Any] = np.asarray(sizes)
    if array.ndim not in (1, 2) or array.shape[-1] != 2:
        raise ValueError(f"sizes must be (height, width) or a list of them, got {sizes!r:.80}")
    listed: list[list[int]] = array.reshape(-1, 2).tolist()
    return listed


def _per_image(name: str, values: Arrays, dims: int) -> list[Tensor]:
    """Float32 tensors ``[K, 4]`` or ``[K]``, one for each image, of one such array or a list of them."""
    try:
        listed: Sequence[ArrayLike | Tensor] = [values]
        if isinstance(values, Sequence) and len(values) > 0:
            is_empty = all(np.size(each) == 0 for each in values)
            listed = values if is_empty or any(np.ndim(each) == dims for each in values) else listed
        parts = [torch.as_tensor(np.asarray(each, dtype=np.float32)) for each in listed]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, an array for each image: {error}") from error
    for part in parts:
        if part.numel() == 0:
            continue
        if part.dim() != dims or (dims == 2 and part.shape[1] != 4):
            raise ValueError(f"{name} must be {'[K, 4]' if dims == 2 else '[K]'} of each image, got {list(part.shape)}")
        if not bool(torch.isfinite(part).all()) or (dims == 2 and bool((part[:, 2:] < part[:, :2]).any())):
            raise ValueError(f"{name} must be finite, and boxes xyxy with x0 <= x1 and y0 <= y1")
    return [part.reshape(-1, 4) if dims == 2 else part for part in parts]


def _annotations(boxes: Tensor, size: Size, index: int) -> CocoAnnotations:
    """One image with these objects."""
    number = len(boxes)
    corners = boxes.numpy()
    sides = corners[:, 2:] - corners[:, :2]
    report = AnnotationReport(1, number, 0, int(number == 0), 0, 0, 0, 0, 0, ())
    return CocoAnnotations(
        categories=Categories(ids=(1,), names=("object",)),
        image_ids=np.array([index], dtype=np.int64),
        sizes=np.array([size], dtype=np.int64),
        name_bytes=np.empty(0, dtype=np.uint8),
        name_offsets=np.zeros(2, dtype=np.int64),
        boxes=corners,
        labels=np.zeros(number, dtype=np.int64),
        areas=sides.prod(axis=1),
        is_crowd=np.zeros(number, dtype=np.bool_),
        annotation_ids=np.arange(number, dtype=np.int64),
        offsets=np.array([0, number], dtype=np.int64),
        report=report,
    )
