"""Random numbers as a function of a key, so that a training step has no state beside its arguments."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Where a step draws at random: the same draw gives the same numbers, in any order and on every repetition.

    Attributes:
        key: ``[K]`` int64 on the CPU: seed, place in the training and rank. A tensor, so that a compiled step is not
            compiled anew for each.
        epoch: Of the training, for rules and sources that change with it.
        scope: Path of the part that draws; parts with different paths draw independently.
        recorded: Numbers to give instead of drawing, by path and name, such as those of another implementation.
    """

    key: Tensor
    epoch: int = 0
    scope: str = ""
    recorded: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, *key: int, epoch: int = 0) -> Self:
        """A draw for a seed and whatever else tells two draws apart; every number from 0."""
        return cls(torch.tensor(key, dtype=torch.int64), epoch)

    def within(self, scope: str) -> Self:
        """The draw of a part called ``scope``."""
        return replace(self, scope=f"{self.scope}/{scope}" if self.scope else scope)

    def uniform(self, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        """Independent float32 numbers, uniform in [0, 1).

        Args:
            name: Tells two draws of one part apart.
            shape: Of the result.
            device: Of the result; another device draws other numbers.

        Raises:
            ValueError: The recorded numbers have another shape.
        """
        path = f"{self.scope}/{name}" if self.scope else name
        if path in self.recorded:
            values = self.recorded[path]
            if tuple(values.shape) != tuple(shape):
                raise ValueError(
                    f"the recorded draw {path!r} must have shape {tuple(shape)}, got {tuple(values.shape)}"
                )
            return values.to(device)
        drawn: Tensor = _uniform(self.key, path, list(shape), device)
        return drawn


# An operator of its own: a generator is state, which torch.compile cannot trace.
@torch.library.custom_op("deta::uniform", mutates_args=())
def _uniform(key: Tensor, path: str, shape: Sequence[int], device: torch.device) -> Tensor:
    (seed,) = np.random.SeedSequence((*key.tolist(), zlib.crc32(path.encode()))).generate_state(1)
    generator = torch.Generator(device).manual_seed(int(seed))
    return torch.rand(shape, generator=generator, device=device)


@_uniform.register_fake
def _(key: Tensor, path: str, shape: Sequence[int], device: torch.device) -> Tensor:
    del key, path
    return torch.empty(shape, device=device)
