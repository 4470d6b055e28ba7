"""Which class scores count in a loss, where only some classes were looked for in an image."""

import torch
from torch import Tensor

from deta.structures import IGNORED, Matches, Targets


def counted_scores(matches: Matches, targets: Targets, own: Tensor) -> Tensor:
    """Class scores that count in a loss; every term of classes asks this.

    Args:
        matches: Assignment of N candidates; ``IGNORED`` ones count nothing.
        targets: Where they are ``federated``, only ``penalised_classes`` count, and ``own``.
        own: ``[B, N, C]`` bool: scores that count wherever the candidate does, such as that of a positive's class.

    Returns:
        ``[B, N, C]`` bool, or ``[B, N, 1]`` where all classes of a candidate count alike.
    """
    is_used = (matches.target != IGNORED)[..., None]  # [B, N, 1]
    if targets.federated is None:
        return is_used
    return is_used & (penalised_classes(targets, own.shape[2])[:, None] | own)


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
