"""Multi-scale deformable attention on CPU tensors: prepares arrays and shares the work among threads.

Half-precision inputs are computed in float32. Beside the results only two temporary copies exist: the attention
weights and, where it pays, ``value`` with one contiguous map per head.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deta_kernels.threads import run_parallel

Array = np.ndarray[Any, Any]

QUERIES_PER_ITEM = 256  # forward work item: large enough to hide its start (about 10 us), small enough to balance


def forward(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """The operator of ``deta_kernels.deformable_attention``, without its checks."""
    kernels, dtype = _kernels(), torch.promote_types(value.dtype, torch.float32)
    num_images, num_queries, num_heads = offsets.shape[:3]
    output = torch.empty(num_images, num_queries, num_heads, value.shape[3], dtype=dtype)
    inputs = _input_arrays(value, spatial_shapes, reference, offsets, logits, dtype)
    arguments = (*inputs, output.numpy(), _lanes(value))
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
    kernels, dtype = _kernels(), torch.promote_types(value.dtype, torch.float32)
    num_images, num_queries, num_heads, num_levels, num_points, _ = offsets.shape
    grad_maps = torch.zeros(num_images * num_heads, value.shape[1], value.shape[3], dtype=dtype)
    per_head = (num_images if with_reference else 0, num_queries, num_heads, num_levels, reference.shape[3])
    grad_reference = torch.zeros(per_head, dtype=dtype)
    grad_offsets = torch.empty(num_images, num_queries, num_heads, num_levels * num_points, 2, dtype=dtype)
    grad_logits = torch.empty(logits.shape, dtype=dtype)
    inputs = _input_arrays(value, spatial_shapes, reference, offsets, logits, dtype)
    gradients = (tensor.numpy() for tensor in (grad_maps, grad_reference, grad_offsets, grad_logits))
    arguments = (*inputs, _array(grad_output, dtype), *gradients, _lanes(value))
    kernels.backward(*arguments, 0, 0, 0)
    run_parallel(num_images * num_heads, lambda plane: kernels.backward(*arguments, plane, 0, num_queries))
    grad_value = torch.empty(value.shape, dtype=value.dtype)
    grad_value.copy_(grad_maps.unflatten(0, (num_images, num_heads)).transpose(1, 2))
    return (
        grad_value,
        grad_reference.sum(2).to(reference.dtype),
        grad_offsets.view(offsets.shape).to(offsets.dtype),
        grad_logits.to(logits.dtype),
    )


def _input_arrays(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    dtype: torch.dtype,
) -> tuple[Array, ...]:
    """Value, sizes, reference, offsets and attention as the kernels take them."""
    if offsets.shape[1] >= value.shape[1]:  # one query per pixel repays the copy: 12 % less time at 6,400 queries
        value = value.detach().transpose(1, 2).flatten(0, 1)[:, :, None]  # [B*H, S, 1, D]
    sizes = np.array(spatial_shapes, dtype=np.int64).reshape(-1, 2)
    attention = logits.detach().to(dtype).softmax(-1)
    queries = (_array(reference, dtype), _array(offsets.flatten(3, 4), dtype), _array(attention, dtype))
    return _array(value, dtype), sizes, *queries


def _lanes(value: Tensor) -> tuple[int, ...]:
    return (0,) * value.shape[3]


def _array(tensor: Tensor, dtype: torch.dtype) -> Array:
    return tensor.detach().to(dtype).contiguous().numpy()


@cache
def _kernels() -> ModuleType:
    from deta_kernels import cpu_kernels  # Numba takes about a second to import

    return cpu_kernels
