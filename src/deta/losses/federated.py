"""Which class scores count in the loss of an image, where only some classes were looked for in it."""

import torch
from torch import Tensor

from deta.structures import Targets


def penalised_classes(targets: Targets, num_classes: int) -> Tensor:
    """Classes whose scores count for every candidate of an image.

    These are the annotated, the negative and the sampled classes. Of a class that is annotated but not exhaustively,
    a candidate without object may show one that is not annotated, so it counts for positives alone, which see
    their own class anyway.

    Args:
        targets: With ``federated``.
        num_classes: Length of the class dimension.

    Returns:
        ``[B, C]`` bool.
    """
    federated = targets.federated
    assert federated is not None
    annotated = torch.where(targets.is_object, targets.labels, -1)
    looked_for = _is_listed(torch.cat((annotated, federated.negative, federated.sampled), dim=1), num_classes)
    return looked_for & ~_is_listed(federated.not_exhaustive, num_classes)


def _is_listed(labels: Tensor, num_classes: int) -> Tensor:
    """``[B, C]`` bool of ``[B, N]`` class indexes; -1 is none."""
    listed = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    places = torch.where(labels >= 0, labels, num_classes)
    return listed.scatter_(1, places, torch.ones_like(places, dtype=torch.bool))[:, :num_classes]
