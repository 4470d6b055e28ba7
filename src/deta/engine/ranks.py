"""What every process knows, brought together."""

from typing import TypeVar

import torch.distributed as dist

Value = TypeVar("Value")


def gather(value: Value) -> list[Value]:
    """``value`` of every rank in the order of the ranks, on all ranks; every rank must call this."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Value | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # every None has been replaced
