# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Gradient of the value of coarse levels on CUDA, by matrix products instead of one addition per sample.

A level of n pixels receives grad_value = W^T g, where g [Q, D] is the upstream gradient of one image and head, and

    W[q, pixel] = sum_p a_qp tent(x_qp - pixel_x) tent(y_qp - pixel_y),    tent(t) = max(0, 1 - |t|)

is what bilinear sampling of query q takes from a pixel. Of a feature pyramid the coarsest levels hold few pixels but
receive as many samples as the finest: their rows would take most additions and meet on few addresses. W is never
stored: a program makes it for a block of queries and one square of pixels after the other, where it is an outer product
of rows and columns for every sample, multiplies on the tensor cores, and adds the result to grad_value: a row per pixel
instead of four per sample. TF32 keeps 10 of 23 binary places: every factor is a sum of two such numbers.

Letters and memory layout are those of forward.py.
"""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from deta_kernels.configs import sizes_on
from deta_kernels.geometry import add_rows, origin_and_step, softmax_terms

SIDE, BLOCK_QUERIES, NUM_WARPS = 8, 128, 4
"""Fixed, since they decide the order of the sums. A thread makes the 64 weights of one query."""


@triton.jit
def _tent(position, pixel):
    """``[SIDE, BQ]``: what every query takes from a column or row of pixels."""
    return tl.maximum(1.0 - tl.abs(position[None, :] - pixel.to(tl.float32)[:, None]), 0.0)


@triton.jit
def _split(values):
    """Two tensors that TF32 holds, the first exactly, and whose sum is ``values``."""
    high = (values.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)
    return high, values - high


@triton.jit
def add_coarse_kernel(
    sizes_ptr,
    reference_ptr,
    offsets_ptr,
    logits_ptr,
    grad_output_ptr,
    scale_ptr,
    grad_value_ptr,
    num_pixels,
    num_queries,
    largest_level,
    NUM_HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    NUM_LEVELS: tl.constexpr,
    NUM_POINTS: tl.constexpr,
    REFERENCE_SIZE: tl.constexpr,
    SIDE: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
):
    """Add to ``grad_value`` of levels with up to ``largest_level`` pixels.

    The grid is (blocks of queries, heads, images). ``scale_ptr`` holds what multiplies the sums.
    """
    query = tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    side = tl.arange(0, SIDE)
    channels = tl.arange(0, BLOCK_CHANNELS)
    is_channel = channels < CHANNELS
    is_query = query < num_queries
    row = image * num_queries + query  # int64
    point = (row * NUM_HEADS + head) * (NUM_LEVELS * NUM_POINTS)
    maximum, inverse_sum = softmax_terms(logits_ptr, point, is_query, NUM_LEVELS * NUM_POINTS, BLOCK_SAMPLES)
    pointer = grad_output_ptr + ((row * NUM_HEADS + head) * CHANNELS)[:, None] + channels[None, :]
    upstream = tl.load(pointer, mask=is_query[:, None] & is_channel[None, :], other=0.0).to(tl.float32)
    upstream_high, upstream_low = _split(upstream)
    scale = tl.load(scale_ptr)
    first = image * num_pixels
    for level in range(NUM_LEVELS):
        height, width = tl.load(sizes_ptr + 2 * level), tl.load(sizes_ptr + 2 * level + 1)
        if height * width <= largest_level:
            origin_x, origin_y, step_x, step_y = origin_and_step(
                reference_ptr,
                row * NUM_LEVELS + level,
                height.to(tl.float32),
                width.to(tl.float32),
                is_query,
                NUM_POINTS,
                REFERENCE_SIZE,
            )
            xs, ys, samples = (), (), ()  # tuples that grow, since Triton knows no lists and no stars
            for index in tl.static_range(NUM_POINTS):
                sample = point + level * NUM_POINTS + index
                logit = tl.load(logits_ptr + sample, mask=is_query, other=0.0).to(tl.float32)
                offset_x = tl.load(offsets_ptr + 2 * sample, mask=is_query, other=0.0).to(tl.float32)
                offset_y = tl.load(offsets_ptr + 2 * sample + 1, mask=is_query, other=0.0).to(tl.float32)
                samples = samples + (tl.exp(logit - maximum) * inverse_sum,)  # type: ignore[assignment]  # noqa: RUF005
                xs = xs + (origin_x + step_x * offset_x,)  # type: ignore[assignment]  # noqa: RUF005
                ys = ys + (origin_y + step_y * offset_y,)  # type: ignore[assignment]  # noqa: RUF005
            tiles_in_row = tl.cdiv(width, SIDE)
            for tile in range(tl.cdiv(height, SIDE) * tiles_in_row):
                rows = tile // tiles_in_row * SIDE + side
                columns = tile % tiles_in_row * SIDE + side
                weights = tl.zeros((SIDE, SIDE, BLOCK_QUERIES), tl.float32)
                for index in tl.static_range(NUM_POINTS):
                    of_rows = samples[index][None, :] * _tent(ys[index], rows)
                    weights += of_rows[:, None, :] * _tent(xs[index], columns)[None, :, :]
                high, low = _split(tl.reshape(weights, (SIDE * SIDE, BLOCK_QUERIES)))
                total = tl.dot(low, upstream_high, input_precision="tf32")
                if grad_output_ptr.dtype.element_ty == tl.float32:
                    total = tl.dot(high, upstream_low, total, input_precision="tf32")
                total = tl.dot(high, upstream_high, total, input_precision="tf32")
                pixel = tl.reshape(rows[:, None] * width + columns[None, :], (SIDE * SIDE,))
                is_pixel = tl.reshape((rows < height)[:, None] & (columns < width)[None, :], (SIDE * SIDE,))
                place = ((first + pixel) * NUM_HEADS + head) * CHANNELS
                mask = is_pixel[:, None] & is_channel[None, :]
                add_rows(grad_value_ptr + place, channels, total * scale, mask)
        first += height * width


def add_coarse(
    grad_value: Tensor,
    largest_level: int,
    sizes: Sequence[int],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    grad_output: Tensor,
    scale: Tensor,
) -> None:
    """Add the gradient of the value of every level with up to ``largest_level`` pixels to ``grad_value``.

    Args:
        grad_value: ``[B, S, H, D]`` float32 or int64, contiguous as the other tensors.
        largest_level: Pixels, from 0.
        sizes: ``h0, w0, h1, w1, ...``.
        reference: As ``deta_kernels.deformable_attention`` takes it, like the following.
        offsets: See above.
        logits: See above.
        grad_output: ``[B, Q, H, D]``.
        scale: ``[1]`` float32, multiplies the addends.
    """
    if not any(height * width <= largest_level for height, width in zip(sizes[0::2], sizes[1::2], strict=True)):
        return
    num_images, num_queries, num_heads, num_levels, num_points, _ = offsets.shape
    channels = grad_output.shape[3]
    add_coarse_kernel[(triton.cdiv(num_queries, BLOCK_QUERIES), num_heads, num_images)](
        sizes_on(grad_output.device, tuple(sizes)),
        reference,
        offsets,
        logits,
        grad_output,
        scale,
        grad_value,
        grad_value.shape[1],
        num_queries,
        largest_level,
        num_heads,
        channels,
        num_levels,
        num_points,
        reference.shape[3],
        SIDE=SIDE,
        BLOCK_QUERIES=BLOCK_QUERIES,
        BLOCK_CHANNELS=triton.next_power_of_2(channels),
        BLOCK_SAMPLES=triton.next_power_of_2(num_levels * num_points),
        num_warps=NUM_WARPS,
        num_stages=1,
        enable_fp_fusion=True,
    )
