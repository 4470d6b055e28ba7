"""What the arguments of the operator must satisfy; each failure names the argument, the rule and the value."""

from collections.abc import Sequence

import torch
from torch import Tensor

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_arguments(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], reference: Tensor, offsets: Tensor, logits: Tensor
) -> None:
    """Raise ``ValueError`` unless devices, dtypes, layouts and shapes fit together; any strides are accepted."""
    _check_kinds({"value": value, "reference": reference, "offsets": offsets, "logits": logits})
    if not isinstance(spatial_shapes, (tuple, list)) or not all(map(_is_size, spatial_shapes)):
        raise ValueError(
            "spatial_shapes must be a tuple or list of (height, width) integers (of a tensor: .tolist()), "
            f"got {spatial_shapes!r}"
        )
    if value.dim() != 4 or offsets.dim() != 6:
        raise ValueError(
            "value must be [B, S, H, D] and offsets [B, Q, H, L, P, 2], "
            f"got {tuple(value.shape)} and {tuple(offsets.shape)}"
        )
    num_images, num_pixels, num_heads, channels = value.shape
    num_queries, num_levels, num_points = offsets.shape[1], offsets.shape[3], offsets.shape[4]
    if min(num_heads, channels, num_levels, num_points) < 1:
        raise ValueError(f"H, D, L and P must be at least 1, got {num_heads, channels, num_levels, num_points}")
    if reference.dim() != 4 or reference.shape[3] not in (2, 4):
        raise ValueError(f"reference must be [B, Q, L, 2] or [B, Q, L, 4], got {tuple(reference.shape)}")
    _check_shape("offsets", offsets, (num_images, num_queries, num_heads, num_levels, num_points, 2))
    _check_shape("reference", reference, (num_images, num_queries, num_levels, reference.shape[3]))
    _check_shape("logits", logits, (num_images, num_queries, num_heads, num_levels * num_points))
    if len(spatial_shapes) != num_levels:
        raise ValueError(f"spatial_shapes must have {num_levels} levels as offsets, got {spatial_shapes!r}")
    if min(min(size) for size in spatial_shapes) < 0:
        raise ValueError(f"spatial_shapes must not be negative, got {spatial_shapes!r}")
    if sum(height * width for height, width in spatial_shapes) != num_pixels:
        raise ValueError(
            f"the areas of spatial_shapes must sum to the {num_pixels} pixels of value, got {spatial_shapes!r}"
        )


def _is_size(size: object) -> bool:
    """Whether it is a pair of integers; under ``torch.compile`` and ``torch.export`` they may be symbolic."""
    return (
        isinstance(size, (tuple, list))
        and len(size) == 2
        and all(isinstance(side, (int, torch.SymInt)) for side in size)
    )


def _check_kinds(tensors: dict[str, Tensor]) -> None:
    value = tensors["value"]
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided:
            raise ValueError(f"{name} must be a dense tensor, got {tensor.layout}; use its .to_dense()")
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{name} must be float16, bfloat16, float32 or float64, got {tensor.dtype}")
        if (tensor.dtype == torch.float64) != (value.dtype == torch.float64):
            raise ValueError(
                "value, reference, offsets and logits must all be float64 or none of them, got "
                + ", ".join(f"{key} {tensor.dtype}" for key, tensor in tensors.items())
            )
        if tensor.device != value.device:
            raise ValueError(f"{name} must be on {value.device} as value, got {tensor.device}")


def _check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(f"{name} must have shape {expected} to fit value and offsets, got {tuple(tensor.shape)}")
