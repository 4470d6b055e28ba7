"""What the detector returns for a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from deta.structures.base import TensorStruct


class StageKey(NamedTuple):
    """Which stage of a detector a prediction, an assignment or a loss belongs to; holds no tensor.

    A tuple with names, since torch.compile of torch 2.11 hashes keys that are dataclasses before they have values.

    Attributes:
        role: Of the queries or positions, the name of the rule that trains them: ``first`` (the first stage),
            ``layers`` (the queries that detect), or that of a further group of queries.
        layer: Decoder layer; None where there are no layers, or for what all of them share.
        copy: Which one of several groups with the same role; None where there is one.
    """

    role: str
    layer: int | None = None
    copy: int | None = None


def of_class(values: Tensor, labels: Tensor) -> Tensor:
    """``values[b, n, labels[b, n]]``, ``[B, N, 4]`` of ``[B, N, C, 4]``; a negative label reads class 0."""
    index = labels.clamp(min=0)[..., None, None].expand(*labels.shape, 1, values.shape[3])  # [B, N, 1, 4]
    return values.gather(2, index)[:, :, 0]  # [B, N, 4]


@dataclass(frozen=True)
class Prediction(TensorStruct):
    """Boxes and classes of N candidates in each of B images, as one stage predicts them.

    Boxes are ``cxcywh`` in one unit for ``boxes`` and ``priors``: relative to the unpadded image where ``frame`` is
    given, else pixels of the image as the network sees it.

    Attributes:
        logits: ``[B, N, C]``.
        boxes: ``[B, N, 4]``, or ``[B, N, C, 4]`` with a box for every class; see ``boxes_of``.
        priors: ``[B, N, 4]`` boxes before refinement: anchors, references of the decoder, or the detached ``boxes``
            where there is no box before it.
        frame: ``[B, 4]`` pixels of the unit box, ``(width, height, width, height)``; None where boxes are in pixels.
        exists: ``[B, N]`` bool; False is a place without a candidate, in no loss, divisor or figure. None is all True.
        may_match: ``[B, N]`` bool; False must not become positive, but is trained as background and detects. None is
            all True.
        grid: ``(height, width, candidates of a cell)`` of every level where candidates lie on a grid, finest first.
        levels: ``[N]`` or ``[B, N]`` int64 feature level of a candidate; None where it has none.
        strides: ``[N]`` or ``[B, N]`` float32 pixels between neighbours of its level; None where it has none.
        quality: ``[B, N]`` logit of how good the box is (centerness, objectness); None without such an output.
        code: ``[B, N, K]`` what the box was decoded of; None where losses do not need it.
        given: ``[B, N]`` int64 object that a candidate was made for, as in ``Matches.target``; None where it is to be
            assigned.
        source: ``[B, N]`` int64 candidate of the first stage that this one was made of, -1 for none; None where there
            is no first stage.
    """

    logits: Tensor
    boxes: Tensor
    priors: Tensor
    frame: Tensor | None = None
    exists: Tensor | None = None
    may_match: Tensor | None = None
    grid: tuple[tuple[int, int, int], ...] | None = None
    levels: Tensor | None = None
    strides: Tensor | None = None
    quality: Tensor | None = None
    code: Tensor | None = None
    given: Tensor | None = None
    source: Tensor | None = None

    @property
    def num_candidates(self) -> int:
        """N."""
        return self.logits.shape[1]

    def can_match(self) -> Tensor:
        """``[B, N]`` bool, True for a candidate that exists and may become positive."""
        flags = [flag for flag in (self.exists, self.may_match) if flag is not None]
        if not flags:
            return torch.ones(self.logits.shape[:2], dtype=torch.bool, device=self.logits.device)
        return flags[0] if len(flags) == 1 else flags[0] & flags[1]

    def boxes_of(self, labels: Tensor) -> Tensor:
        """``[B, N, 4]`` boxes for the class ``labels[b, n]`` of every candidate; a negative label reads class 0."""
        return self.boxes if self.boxes.dim() == 3 else of_class(self.boxes, labels)

    def in_pixels(self) -> Self:
        """The same with ``boxes`` and ``priors`` in pixels, for rules with distances, radii or exact ties."""
        if self.frame is None:
            return self
        frame = self.frame[:, None]  # [B, 1, 4]
        boxes = self.boxes * (frame if self.boxes.dim() == 3 else frame[:, None])  # [B, N, 4] or [B, N, C, 4]
        return replace(self, boxes=boxes, priors=self.priors * frame, frame=None)

    def relative(self, frame: Tensor) -> Self:
        """The same with ``boxes`` and ``priors``, which are in pixels, in units of the ``[B, 4]`` frame."""
        unit = frame[:, None]  # [B, 1, 4]
        boxes = self.boxes / (unit if self.boxes.dim() == 3 else unit[:, None])  # [B, N, 4] or [B, N, C, 4]
        return replace(self, boxes=boxes, priors=self.priors / unit, frame=frame)

    def take(self, rows: Tensor) -> Self:
        """The candidates ``rows``, ``[B, M]`` int64 in every image; ``grid`` is dropped."""
        parts = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "frame" or not isinstance(value, Tensor):
                continue
            if field.name in _PER_CANDIDATE and value.dim() == 1:
                value = value.expand(rows.shape[0], -1)  # [B, N]
            index = rows.view(*rows.shape, *[1] * (value.dim() - 2)).expand(*rows.shape, *value.shape[2:])
            parts[field.name] = value.gather(1, index)
        return replace(self, **parts, grid=None)

    def slice(self, start: int, stop: int) -> Self:
        """The candidates ``start:stop``; ``grid`` is dropped."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "frame"}
        parts = {
            name: value[start:stop] if name in _PER_CANDIDATE and value.dim() == 1 else value[:, start:stop]
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **parts, grid=None)

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """Several predictions of one shape along the batch, ``[K * B, N, ...]``, in their order.

        Raises:
            ValueError: They have different numbers of candidates, or one has a part that another lacks.
        """
        if len(parts) == 1:
            return parts[0]
        numbers = [part.num_candidates for part in parts]
        if numbers != numbers[:1] * len(parts):
            raise ValueError(f"stages of one role must have equally many candidates, got {numbers}: give each its role")
        columns: dict[str, object] = {"grid": parts[0].grid}
        for field in fields(parts[0]):
            values = [getattr(part, field.name) for part in parts]
            if field.name == "grid" or all(value is None for value in values):
                continue
            if any(value is None for value in values):
                raise ValueError(f"Prediction.{field.name} must be given by every stage of a role or by none")
            if field.name in _PER_CANDIDATE and values[0].dim() == 1:
                columns[field.name] = values[0]
            else:
                columns[field.name] = torch.cat(values)
        return cls(**columns)  # type: ignore[arg-type]


_PER_CANDIDATE = ("levels", "strides")
"""May be ``[N]``, the same for every image."""


@dataclass(frozen=True)
class DetectionOutput(TensorStruct):
    """Predictions of every stage.

    Attributes:
        stages: By stage, in the order in which the detector makes them.
        last: The stage that detects.
        frame: ``[B, 4]`` pixels of the unit box where that stage is in pixels, see ``Prediction.frame``; else None.
        left_out: Roles without a stage in this pass, since it is none of training: nothing is measured of them.
    """

    stages: Mapping[StageKey, Prediction]
    last: StageKey
    frame: Tensor | None = None
    left_out: tuple[str, ...] = ()

    @property
    def final(self) -> Prediction:
        """The prediction that detects, relative to the unpadded image."""
        return self._relative(self.stages[self.last])

    def of_role(self, role: str) -> Mapping[StageKey, Prediction]:
        """The stages of one role, in their order."""
        return {key: prediction for key, prediction in self.stages.items() if key.role == role}

    def assigned(self, key: StageKey) -> Prediction:
        """What was assigned under ``key``, relative: that stage, or the first of those that share the assignment."""
        group = (key.role, key.copy)
        shared = (part for stage, part in self.stages.items() if (stage.role, stage.copy) == group)
        return self._relative(self.stages[key] if key in self.stages else next(shared))

    def _relative(self, prediction: Prediction) -> Prediction:
        return prediction if self.frame is None else prediction.relative(self.frame)
