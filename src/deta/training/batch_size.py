"""How many images fit a GPU: steps of growing batches are tried before the training."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

import torch
from torch.nn import functional
from torch.optim import Optimizer

from deta.ops.random import Draw
from deta.structures import Batch
from deta.training.module import DetectionModule
from deta.training.step import step

NUM_LOOKED_AT = 32
"""Training images whose largest sides and most objects the tried batches have."""
SHARE_OF_MEMORY = 0.9
"""The rest is for images that are larger, and for memory in pieces too small to use."""
_NUM_STEPS = 2
"""The second one has the optimizer's state beside the activations."""


def largest_batch(fits: Callable[[int], bool], *, most: int) -> int:
    """The largest power of two that fits, by doubling, as Lightning's ``BatchSizeFinder`` does in its mode ``power``.

    Args:
        fits: Whether a batch of so many images does.
        most: No larger one is tried, from 1.

    Raises:
        ValueError: Not even one image fits.
    """
    size = 1
    if not fits(size):
        raise ValueError(
            "data.batch_size=auto: a training step of a single image does not fit the memory of this device: make the "
            "images smaller, or choose trainer.precision=bf16-mixed or a smaller model"
        )
    while size * 2 <= most and fits(size * 2):
        size *= 2
    return size


def heaviest(batches: Iterable[Batch]) -> Batch:
    """One image that is as large as the largest of these batches of one image, with the most objects of any."""
    looked_at = list(islice(batches, NUM_LOOKED_AT))
    height, width = (max(batch.images.shape[side] for batch in looked_at) for side in (2, 3))
    fullest = max(looked_at, key=lambda batch: int(batch.targets.is_object.sum()))
    margin = (0, width - fullest.images.shape[3], 0, height - fullest.images.shape[2])
    return Batch(
        images=functional.pad(fullest.images, margin),  # [1, 3, H, W]
        is_padding=torch.zeros(1, height, width, dtype=torch.bool),
        targets=fullest.targets,
        image_ids=fullest.image_ids,
        original_sizes=fullest.original_sizes,
    )


class MemoryTrial:
    """Whether training steps of a batch fit the memory of a GPU, gradients and the state of the optimizer included.

    Args:
        module: Trained meanwhile, on ``device``: of no use for anything else.
        image: A batch of one image.
        device: A GPU.
        precision: Within which a forward pass runs.
    """

    def __init__(
        self,
        module: DetectionModule,
        image: Batch,
        device: torch.device,
        precision: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._module = module.to(device)
        self._image = image.to(device)
        self._precision = precision
        configured: Any = module.configure_optimizers()
        self._optimizer: Optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        self._device = device

    def fits(self, size: int) -> bool:
        """Take steps of a batch of so many images."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            for _ in range(_NUM_STEPS):
                self.take_step(size)
            peak = torch.cuda.max_memory_reserved(self._device)
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            self._optimizer.zero_grad(set_to_none=True)
        return peak <= SHARE_OF_MEMORY * torch.cuda.get_device_properties(self._device).total_memory

    def take_step(self, size: int) -> None:
        """Forward, backward and optimizer."""
        module = self._module
        assert module.criterion is not None
        batch = self._image.map(lambda tensor: tensor.repeat_interleave(size, dim=0))
        draw = Draw.of(module.seed, 0, 0, 0, epoch=0)
        with self._precision():
            losses = step(module.detector, module.criterion.at(draw), batch, draw).losses
            assert losses is not None
            total = losses.averaged(lambda divisors: divisors).total()
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        self._optimizer.step()
