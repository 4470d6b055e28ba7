"""Ground truth and candidates of a reference case as our structures."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deta.structures import Matches, Prediction, Targets

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


def make_targets(boxes: Tensor, labels: Tensor, sizes: list[int]) -> Targets:
    """Pad ground truth that is concatenated over images: ``[K, 4]`` ``cxcywh``, ``[K]``, objects per image."""
    padded = pad_sequence(list(boxes.split(sizes)), batch_first=True)
    is_object = torch.arange(padded.shape[1]) < torch.tensor(sizes)[:, None]
    return Targets(
        boxes=padded,
        labels=pad_sequence(list(labels.split(sizes)), batch_first=True),
        is_object=is_object,
        areas=is_object.float(),
        ignore_boxes=torch.zeros(len(sizes), 0, 4),
        is_ignore=torch.zeros(len(sizes), 0, dtype=torch.bool),
        sizes=torch.full((len(sizes), 2), 100.0),
        most_objects=max(sizes),
    )


def case_targets(case: "ReferenceCase") -> Targets:
    """The ground truth of a case."""
    return make_targets(case.inputs["boxes"], case.inputs["labels"], case.inputs["sizes"].tolist())


def make_prediction(boxes: Tensor, logits: Tensor | None = None) -> Prediction:
    """Candidates that may all match; priors and predictions are the same ``[B, N, 4]`` boxes."""
    if logits is None:
        logits = torch.zeros(*boxes.shape[:2], 1)
    return Prediction(logits, boxes, boxes, frame=torch.full((len(boxes), 4), 100.0))  # that of ``make_targets``


def assert_pairs(matches: Matches, pairs: Tensor, pair_counts: Tensor) -> None:
    """Compare with ``(prediction, object)`` pairs that are concatenated over images."""
    image = torch.arange(len(pair_counts)).repeat_interleave(pair_counts)
    expected = torch.cat((image[:, None], pairs), dim=1)
    assert matches.pairs().tolist() == sorted(expected.tolist())
