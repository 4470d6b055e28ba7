"""Arithmetic of sizes that may be unknown while a detector is traced."""

from typing import Any, cast

import torch


def smaller(first: int, second: int) -> int:
    """The smaller of two sizes; of sizes that a traced program leaves open, the expression of it."""
    size: Any = torch.sym_min(first, second)
    return cast(int, size)
