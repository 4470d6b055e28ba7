"""The assignment problem: every object gets another candidate, at the least total cost."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

UNMATCHABLE = 1e6
"""Cost of a candidate that must not be chosen while another is left, where others cost less by far."""
UNASSIGNED = -1


def solve_assignments(costs: Sequence[Tensor], is_object: Sequence[Tensor]) -> list[Tensor]:
    """Solve every image of every problem after one transfer from the device.

    Args:
        costs: ``[B, N, T]`` of each problem, any float dtype. A cost that is not finite counts as ``UNMATCHABLE``, or
            as more than all others of its image together where these are as large: the loss of such predictions is not
            finite either, and the training loop then stops all ranks together, where an error here would stop only
            this one.
        is_object: ``[B, T]`` bool of each problem; padding gets no candidate.

    Returns:
        ``[B, N]`` int64 object of every candidate, or ``UNASSIGNED``, for each problem on its device. With more objects
        than candidates some objects stay without one.
    """
    if not costs:
        return []
    solved: list[Tensor] = _solve([cost.detach() for cost in costs], list(is_object))
    return solved


# An operator of its own, since the host solves it: torch.compile keeps the step whole around it.
@torch.library.custom_op("deta::solve_assignments", mutates_args=())
def _solve(costs: Sequence[Tensor], is_object: Sequence[Tensor]) -> list[Tensor]:
    # Flags travel as numbers, since every transfer of its own would wait for the device once more.
    tables = [cost.float() for cost in costs] + [flags.float() for flags in is_object]
    flat = torch.cat([table.flatten() for table in tables])
    host = flat.cpu()
    pieces = host.split([table.numel() for table in tables])
    arrays = [piece.view(table.shape).numpy() for piece, table in zip(pieces, tables, strict=True)]  # [B, N, T], [B, T]
    solved = [
        np.stack([_solve_image(*image) for image in zip(cost, flags > 0, strict=True)])
        for cost, flags in zip(arrays[: len(costs)], arrays[len(costs) :], strict=True)
    ]
    owners = torch.from_numpy(np.concatenate([owner.ravel() for owner in solved])).to(flat.device)
    parts = owners.split([owner.size for owner in solved])
    return [part.view(owner.shape).clone() for part, owner in zip(parts, solved, strict=True)]  # [B, N]


@_solve.register_fake
def _(costs: Sequence[Tensor], is_object: Sequence[Tensor]) -> list[Tensor]:
    del is_object
    return [cost.new_empty(cost.shape[:2], dtype=torch.int64) for cost in costs]


def _solve_image(cost: NDArray[np.float32], is_object: NDArray[np.bool_]) -> NDArray[np.int64]:
    """``[N, T]`` and ``[T]`` give ``[N]``."""
    objects = np.flatnonzero(is_object)
    candidate, chosen = linear_sum_assignment(_finite(cost[:, objects]))
    owner = np.full(len(cost), UNASSIGNED, dtype=np.int64)
    owner[candidate] = objects[chosen]
    return owner


def _finite(cost: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.float64]:
    """``[N, T]`` costs in which what was not finite costs more than anything else."""
    is_finite = np.isfinite(cost)
    if is_finite.all():
        return cost
    spread = 2.0 * np.abs(cost, where=is_finite, out=np.zeros_like(cost)).max(initial=0.0)
    return np.where(is_finite, cost, max(UNMATCHABLE, spread * (1 + min(cost.shape))))
