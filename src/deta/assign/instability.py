"""How much an assignment changed between two moments of a training."""

import torch
from torch import Tensor


def num_changed_candidates(before: Tensor, after: Tensor) -> int:
    """Candidates that answer for other objects than before, or for one where they answered for none, or the reverse.

    For a one-to-one assignment of learned queries this is the instability of one image.
    Source: arXiv:2203.01305, sec. 3.1: with ``V[n]`` the object of query n or -1, the number of n where ``V[n]``
    differs. Each moved object counts at the query that it left and at the one that it came to.

    Args:
        before: ``[M, 2]`` int64 ``(candidate, object)`` pairs in any order; M may be 0.
        after: The same, later; a candidate must have the same number at both moments.
    """
    pairs, is_shared = _compare(before, after)
    return len(pairs[~is_shared, 0].unique())


def set_distance(before: Tensor, after: Tensor, num_objects: int) -> Tensor:
    """One minus the Jaccard overlap of the candidates that an object had and has.

    It lies in 0..1 whatever the number of positives, so one-to-one and one-to-many assignments compare.

    Args:
        before: ``[M, 2]`` int64 ``(candidate, object)`` pairs.
        after: The same, later.
        num_objects: T.

    Returns:
        ``[T]`` float64; NaN for an object without any candidate at both moments.
    """
    pairs, is_shared = _compare(before, after)
    union = pairs[:, 1].bincount(minlength=num_objects).double()
    shared = pairs[is_shared, 1].bincount(minlength=num_objects).double()
    return 1 - shared / union


def _compare(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Every pair of both once, and whether it occurs in both."""
    pairs, counts = torch.cat((before.unique(dim=0), after.unique(dim=0))).unique(dim=0, return_counts=True)
    return pairs, counts == 2
