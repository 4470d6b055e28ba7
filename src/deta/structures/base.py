"""Common behaviour of the dataclasses that carry tensors between modules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class TensorStruct:
    """A frozen dataclass of tensors, nested structs, mappings and plain values that moves as one.

    Lightning and ``DataLoader`` find ``to`` and ``pin_memory`` by name, so a batch built from these is
    transferred without further code.
    """

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return a copy with ``function`` applied to every tensor, nested structs included."""
        changed = {field.name: _map_value(getattr(self, field.name), function) for field in fields(self)}
        return replace(self, **changed)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return a copy on ``device``."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return a copy in page-locked memory."""
        return self.map(lambda tensor: tensor.pin_memory())

    def detach(self) -> Self:
        """Return a copy that shares storage and carries no gradient."""
        return self.map(lambda tensor: tensor.detach())


def _map_value(value: object, function: Callable[[Tensor], Tensor]) -> object:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, TensorStruct):
        return value.map(function)
    if isinstance(value, Mapping):
        return {key: _map_value(item, function) for key, item in value.items()}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_map_value(item, function) for item in value)
    return value
