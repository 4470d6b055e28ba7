"""The operator as PyTorch sees it: one pair of custom operators, dispatched by device, with shapes and gradients.

``torch.compile`` treats both as opaque calls, so it neither breaks the graph nor looks inside. Level sizes
travel as a flat list of symbolic integers ``h0, w0, h1, w1, ...``: other image sizes do not compile again.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deta_kernels import cpu


@torch.library.custom_op("deta::deformable_attention", mutates_args=(), device_types="cpu")
def attend(value: Tensor, sizes: Sequence[int], reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    """``deta_kernels.deformable_attention`` for checked arguments."""
    return cpu.forward(value, _pairs(sizes), reference, offsets, logits)


@torch.library.custom_op("deta::deformable_attention_backward", mutates_args=(), device_types="cpu")
def attend_backward(
    grad_output: Tensor,
    output: Tensor,  # noqa: ARG001
    value: Tensor,
    sizes: Sequence[int],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    with_reference: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of value, reference (empty unless asked for), offsets and logits."""
    return cpu.backward(grad_output, value, _pairs(sizes), reference, offsets, logits, with_reference)


@attend.register_kernel("cuda")
def _attend_cuda(value: Tensor, sizes: Sequence[int], reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    from deta_kernels.forward import forward  # Triton is imported at the first use

    return forward(value, sizes, reference, offsets, logits)


@attend_backward.register_kernel("cuda")
def _attend_backward_cuda(
    grad_output: Tensor,
    output: Tensor,
    value: Tensor,
    sizes: Sequence[int],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    with_reference: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from deta_kernels.backward import backward

    is_deterministic = torch.are_deterministic_algorithms_enabled()
    return backward(grad_output, output, value, sizes, reference, offsets, logits, with_reference, is_deterministic)


@attend.register_fake
def _attend_shapes(
    value: Tensor,
    sizes: Sequence[int],  # noqa: ARG001
    reference: Tensor,  # noqa: ARG001
    offsets: Tensor,
    logits: Tensor,  # noqa: ARG001
) -> Tensor:
    num_images, num_queries, num_heads = offsets.shape[:3]
    return value.new_empty(num_images, num_queries, num_heads, value.shape[3])


@attend_backward.register_fake
def _attend_backward_shapes(
    grad_output: Tensor,  # noqa: ARG001
    output: Tensor,  # noqa: ARG001
    value: Tensor,
    sizes: Sequence[int],  # noqa: ARG001
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    with_reference: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_reference = reference.new_empty(reference.shape if with_reference else (0, *reference.shape[1:]))
    return (
        value.new_empty(value.shape),
        grad_reference,
        offsets.new_empty(offsets.shape),
        logits.new_empty(logits.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, sizes, reference, offsets, logits = inputs
    ctx.sizes = sizes
    ctx.save_for_backward(output, value, reference, offsets, logits)


def _differentiate(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    output, value, reference, offsets, logits = ctx.saved_tensors
    with_reference = ctx.needs_input_grad[2]
    grad_value, grad_reference, grad_offsets, grad_logits = attend_backward(
        grad_output, output, value, ctx.sizes, reference, offsets, logits, with_reference
    )
    return grad_value, None, grad_reference if with_reference else None, grad_offsets, grad_logits


attend.register_autograd(_differentiate, setup_context=_save)


def _pairs(sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple(zip(sizes[0::2], sizes[1::2], strict=True))
