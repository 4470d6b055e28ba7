"""How much a model may ask for while it is built."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)


@contextmanager
def limited_parts(most: int, reason: str) -> Iterator[None]:
    """End the building of modules inside once they have registered too many parts.

    Args:
        most: Parameters and submodules that all modules together may register, those that are dropped again included.
        reason: What the number follows from, for the message.

    Raises:
        ValueError: They register more.
    """
    count = 0

    def count_part(_module: nn.Module, _name: str, part: nn.Module | nn.Parameter | None) -> None:
        nonlocal count
        count += part is not None
        if count > most:
            raise ValueError(f"it asks for more than {most:,} parameters and modules, {reason}")

    handles = (
        register_module_parameter_registration_hook(count_part),
        register_module_module_registration_hook(count_part),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
