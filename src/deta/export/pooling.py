"""Pooling that rounds its size up, as pooling of a map with a border; so programs may leave the size open.

PyTorch asks whether the last window begins inside of the map, which its exporter cannot prove for every size.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


class _BorderedPool(nn.Module):
    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool
        rows, columns = (stride - 1 for stride in _pair(pool.stride))
        self.border = (0, columns, 0, rows)

    def forward(self, values: Tensor) -> Tensor:
        pool = self.pool
        bordered = functional.pad(values, self.border, value=-torch.inf)
        return functional.max_pool2d(bordered, pool.kernel_size, pool.stride, pool.padding, pool.dilation)


@contextmanager
def bordered_pools(module: nn.Module) -> Iterator[None]:
    """Let every maximum that rounds up be taken with a border at the bottom and right; its values stay the same.

    Args:
        module: Whose parts are replaced meanwhile.
    """
    replaced = [
        (parent, name, part)
        for parent in module.modules()
        for name, part in parent.named_children()
        if isinstance(part, nn.MaxPool2d) and part.ceil_mode and _begins_inside(part)
    ]
    for parent, name, pool in replaced:
        setattr(parent, name, _BorderedPool(pool))
    try:
        yield
    finally:
        for parent, name, pool in replaced:
            setattr(parent, name, pool)


def _begins_inside(pool: nn.MaxPool2d) -> bool:
    """Whether the last window begins inside of a map of any size."""
    settings = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    for kernel, stride, padding, dilation in zip(*map(_pair, settings), strict=True):
        if dilation * (kernel - 1) + 1 < padding + stride:
            return False
    return True


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
