"""Multi-scale deformable attention with one signature and several backends."""

import logging
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from deta_kernels.checks import check_arguments
from deta_kernels.operator import attend
from deta_kernels.reference import deformable_attention_reference, sample_and_sum, sampling_locations

__all__ = ["BACKENDS", "choose_backend", "deformable_attention", "sample_and_sum", "sampling_locations"]

BACKENDS = ("auto", "cpu", "triton", "reference")

_LOGGER = logging.getLogger(__name__)


def deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """Multi-scale deformable attention (arXiv:2010.04159, eq. 3), softmax and sampling locations included.

    Differentiable once in every tensor. Tensors may have any strides and, float64 aside, different dtypes: keep
    ``reference`` in float32 under mixed precision. Half-precision inputs are computed in float32.

    Args:
        value: ``[B, S, H, D]`` projected feature maps, levels concatenated, row-major inside a level.
        spatial_shapes: ``(height, width)`` of every level, finest first; their areas sum to S.
        reference: ``[B, Q, L, 2]`` points ``(x, y)`` or ``[B, Q, L, 4]`` boxes ``cxcywh``, in 0..1 of the
            padded map.
        offsets: ``[B, Q, H, L, P, 2]`` in pixels of the level for points, in units of ``wh / (2 P)`` for boxes.
        logits: ``[B, Q, H, L*P]`` attention before the softmax over levels and points together.
        backend: ``cpu`` (Numba), ``triton`` (CUDA), ``reference`` (plain PyTorch, any device, differentiable any
            number of times) or ``auto``: ``cpu`` for CPU tensors, ``triton`` for CUDA tensors, ``reference`` for
            other devices and for float64 on CUDA.

    Returns:
        ``[B, Q, H, D]`` in the dtype of ``value``.

    Raises:
        ValueError: If arguments do not fit together or the chosen backend does not run on them.
    """
    check_arguments(value, spatial_shapes, reference, offsets, logits)
    chosen = choose_backend(backend, value.device.type, value.dtype)
    if not torch.compiler.is_compiling():
        _announce(backend, chosen, value.device.type, value.dtype)
    if chosen == "reference":
        return deformable_attention_reference(value, spatial_shapes, reference, offsets, logits)
    output: Tensor = attend(value, [side for size in spatial_shapes for side in size], reference, offsets, logits)
    return output


def choose_backend(backend: str, device: str, dtype: torch.dtype) -> str:
    """Which backend runs when ``backend`` is asked for.

    Args:
        backend: One of ``BACKENDS``.
        device: Type of device, such as ``cuda``.
        dtype: Of ``value``.

    Raises:
        ValueError: There is no such backend, or it does not run on this device or in this dtype.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        if device == "cuda":
            return "reference" if dtype == torch.float64 else "triton"
        return "cpu" if device == "cpu" else "reference"
    needed = {"cpu": "cpu", "triton": "cuda"}.get(backend, device)
    if device != needed:
        raise ValueError(f"backend {backend!r} needs {needed} tensors, got {device}; choose 'auto' or 'reference'")
    if backend == "triton" and dtype == torch.float64:
        raise ValueError("backend 'triton' does not compute in float64, got float64 tensors; choose 'reference'")
    return backend


@cache
def _announce(backend: str, chosen: str, device: str, dtype: torch.dtype) -> None:
    _LOGGER.info("deformable attention: backend %s (asked for %s) on %s, %s", chosen, backend, device, dtype)
