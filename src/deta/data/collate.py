"""Samples of different sizes to one padded batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deta.data.sample import Sample
from deta.structures import Batch, FederatedLabels, Targets
from deta.utils.checks import require_int

WIDTH_CLASS = 8
"""The columns of padded ground truth are a multiple of this."""


class Collate:
    """Pads images at the bottom and right, and ground truth to a common number of objects.

    Args:
        pad_to: ``(height, width)`` in pixels to which every batch is padded, for static shapes. None pads to
            the largest image of each batch.
        pad_to_multiple: Sides of a batch become multiples of this, in pixels, so that a compiled step meets few sizes.
    """

    def __init__(self, *, pad_to: Sequence[int] | None = None, pad_to_multiple: int = 1) -> None:
        if pad_to is not None and len(pad_to) != 2:
            raise ValueError(f"pad_to must be [height, width], got {pad_to!r}")
        self._pad_to = None if pad_to is None else tuple(require_int("pad_to", side, low=1) for side in pad_to)
        self._multiple = require_int("pad_to_multiple", pad_to_multiple, low=1)

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Batch the samples in their order.

        Raises:
            ValueError: If an image is larger than ``pad_to``.
        """
        largest = (max(sample.size[0] for sample in samples), max(sample.size[1] for sample in samples))
        height, width = self._pad_to or largest
        if largest[0] > height or largest[1] > width:
            raise ValueError(f"pad_to {(height, width)} is smaller than an image of the batch, up to {largest}")
        height, width = (-(-side // self._multiple) * self._multiple for side in (height, width))
        images = torch.zeros(len(samples), 3, height, width, dtype=torch.uint8)
        is_padding = torch.ones(len(samples), height, width, dtype=torch.bool)
        for row, sample in enumerate(samples):
            sample_height, sample_width = sample.size
            images[row, :, :sample_height, :sample_width] = sample.image
            is_padding[row, :sample_height, :sample_width] = False
        return Batch(
            images=images,
            is_padding=is_padding,
            targets=_targets(samples),
            image_ids=torch.tensor([sample.image_id for sample in samples], dtype=torch.int64),
            original_sizes=torch.tensor([sample.original_size for sample in samples], dtype=torch.int64),
        )


def _targets(samples: Sequence[Sample]) -> Targets:
    most_objects = max(len(sample.boxes) for sample in samples)
    num_objects = _width(max(most_objects, 1))
    num_areas = _width(max(len(sample.ignore_boxes) for sample in samples))
    return Targets(
        boxes=_padded([_normalised(sample.boxes, sample.size) for sample in samples], num_objects),
        labels=_padded([sample.labels for sample in samples], num_objects),
        is_object=_is_filled([len(sample.boxes) for sample in samples], num_objects),
        areas=_padded([sample.areas for sample in samples], num_objects),
        ignore_boxes=_padded([_normalised(sample.ignore_boxes, sample.size) for sample in samples], num_areas),
        is_ignore=_is_filled([len(sample.ignore_boxes) for sample in samples], num_areas),
        sizes=torch.tensor([sample.size for sample in samples], dtype=torch.float32),
        most_objects=most_objects,
        federated=_federated([sample.federated for sample in samples if sample.federated is not None]),
    )


def _width(count: int) -> int:
    """Columns for ``count`` values: in few classes, so that a compiled step meets few shapes; 0 for none."""
    return -(-count // WIDTH_CLASS) * WIDTH_CLASS


def _federated(labels: Sequence[FederatedLabels]) -> FederatedLabels | None:
    if not labels:
        return None
    return FederatedLabels(
        negative=_padded_labels([image.negative for image in labels]),
        not_exhaustive=_padded_labels([image.not_exhaustive for image in labels]),
        sampled=_padded_labels([image.sampled for image in labels]),
    )


def _padded_labels(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=-1)


def _normalised(boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
    """``cxcywh`` in 0..1 of the unpadded image."""
    height, width = size
    corners = boxes_xyxy / torch.tensor([width, height, width, height], dtype=torch.float32)
    return torch.cat(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), dim=1)


def _padded(rows: Sequence[Tensor], length: int) -> Tensor:
    padded = rows[0].new_zeros(len(rows), length, *rows[0].shape[1:])
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return padded


def _is_filled(counts: Sequence[int], length: int) -> Tensor:
    return torch.arange(length)[None] < torch.tensor(counts)[:, None]
