"""Figures that DETR's users watch beside the losses; no gradient flows from them."""

import torch
from torch import Tensor

from deta.ops.rows import take_rows
from deta.structures import Matches, Targets


@torch.no_grad()
def class_error(logits: Tensor, matches: Matches, targets: Targets) -> Tensor:
    """Share of positives, in percent, whose highest class is not that of their object; 100 without positives.

    Args:
        logits: ``[B, Q, C]``.
        matches: The assignment.
        targets: The objects.
    """
    is_positive = matches.is_positive()
    is_right = (logits.argmax(-1) == take_rows(targets.labels, matches.target)) & is_positive
    return 100 - 100 * is_right.sum() / is_positive.sum().clamp(min=1)


@torch.no_grad()
def cardinality_error(logits: Tensor, targets: Targets) -> Tensor:
    """Mean difference between the number of queries whose highest class is not the last one and of objects.

    DETR's measure, made for a softmax whose last class is "no object"; with sigmoid outputs it says little.

    Args:
        logits: ``[B, Q, C]``.
        targets: The objects.
    """
    num_predicted = (logits.argmax(-1) != logits.shape[-1] - 1).sum(1).float()
    return (num_predicted - targets.is_object.sum(1)).abs().mean()
