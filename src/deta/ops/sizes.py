"""Arithmetic of sizes that may be unknown while a detector is traced."""

from typing import Any, cast

import torch
from torch import Tensor


def smaller(first: int, second: int) -> int:
    """The smaller of two sizes; of sizes that a traced program leaves open, the expression of it."""
    size: Any = torch.sym_min(first, second)
    return cast(int, size)


def first_of_each(values: Tensor, count: int) -> Tensor:
    """``values[:, :count]`` of ``[B, N]``, for a ``count`` as ``smaller`` gives it.

    A slice of an open size would ask whether it is all that there is, and the program would hold for the answer alone.
    """
    if isinstance(cast(Any, count), torch.SymInt):
        return values.index_select(1, torch.arange(count, device=values.device))
    return values[:, :count]
