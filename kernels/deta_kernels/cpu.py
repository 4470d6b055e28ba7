"""Multi-scale deformable attention on CPU tensors: prepares arrays and shares the work among threads.

Half-precision inputs are computed in float32. Beside the results only two temporary copies exist: ``value``
with one contiguous map per head, and the attention weights.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deta_kernels.threads import run_parallel

QUERIES_PER_ITEM = 256  # forward work item: large enough to hide its start (about 10 us), small enough to balance


def forward(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """The operator of ``deta_kernels.deformable_attention``, without its checks."""
    kernels, inputs = _kernels(), _Inputs(value, spatial_shapes, reference, offsets, logits)
    num_images, num_queries, num_heads = offsets.shape[:3]
    output = torch.empty(num_images, num_queries, num_heads, value.shape[3], dtype=inputs.dtype)
    arguments = (*inputs.arrays, output.numpy(), inputs.lanes)
    kernels.forward(*arguments, 0, 0, 0)  # compiles here: worker threads have small stacks
    num_blocks = -(-num_queries // QUERIES_PER_ITEM)

    def run_item(item: int) -> None:
        plane, block = divmod(item, num_blocks)
        first = block * QUERIES_PER_ITEM
        kernels.forward(*arguments, plane, first, min(first + QUERIES_PER_ITEM, num_queries))

    run_parallel(num_images * num_heads * num_blocks, run_item)
    return output.to(value.dtype)


def backward(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    with_reference: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of ``value``, ``reference``, ``offsets`` and ``logits``, each in the dtype of its input.

    Without ``with_reference`` the second is empty.
    """
    kernels, inputs = _kernels(), _Inputs(value, spatial_shapes, reference, offsets, logits)
    num_images, num_queries, num_heads, num_levels, num_points, _ = offsets.shape
    dtype = inputs.dtype
    grad_value = torch.zeros(inputs.value_shape, dtype=dtype)
    per_head = (num_images if with_reference else 0, num_queries, num_heads, num_levels, reference.shape[3])
    grad_reference = torch.zeros(per_head, dtype=dtype)
    grad_offsets = torch.empty(num_images, num_queries, num_heads, num_levels * num_points, 2, dtype=dtype)
    grad_logits = torch.empty(logits.shape, dtype=dtype)
    gradients = (grad_value, grad_reference, grad_offsets, grad_logits)
    arguments = (*inputs.arrays, _array(grad_output, dtype), *(g.numpy() for g in gradients), inputs.lanes)
    kernels.backward(*arguments, 0, 0, 0)
    run_parallel(num_images * num_heads, lambda plane: kernels.backward(*arguments, plane, 0, num_queries))
    return (
        torch.empty(value.shape, dtype=value.dtype).copy_(grad_value.transpose(1, 2)),
        grad_reference.sum(2).to(reference.dtype),
        grad_offsets.view(offsets.shape).to(offsets.dtype),
        grad_logits.to(logits.dtype),
    )


class _Inputs:
    """The inputs as the arrays that the compiled loops expect; see ``cpu_kernels`` for their layout."""

    def __init__(
        self,
        value: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        reference: Tensor,
        offsets: Tensor,
        logits: Tensor,
    ) -> None:
        self.dtype = torch.promote_types(value.dtype, torch.float32)
        planes = value.transpose(1, 2)  # [B, H, S, D]
        self.value_shape = planes.shape
        self.lanes = (0,) * value.shape[3]
        self.arrays = (
            _array(planes, self.dtype),
            np.array(spatial_shapes, dtype=np.int64).reshape(-1, 2),
            _array(reference, self.dtype),
            _array(offsets.flatten(3, 4), self.dtype),
            _array(logits.detach().to(self.dtype).softmax(-1), self.dtype),
        )


def _array(tensor: Tensor, dtype: torch.dtype) -> np.ndarray[Any, Any]:
    return tensor.detach().to(dtype).contiguous().numpy()


@cache
def _kernels() -> ModuleType:
    from deta_kernels import cpu_kernels  # Numba takes about a second to import

    return cpu_kernels
