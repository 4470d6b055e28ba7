# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Gradient of the value of coarse levels on CUDA, by matrix products instead of one addition per sample.

A level of n pixels receives grad_value = W^T g, where g [Q, D] is the upstream gradient of one image and head, and

    W[q, pixel] = sum_p a_qp tent(x_qp - pixel_x) tent(y_qp - pixel_y),    tent(t) = max(0, 1 - |t|)

is what bilinear sampling of query q takes from a pixel. Of a feature pyramid the coarsest levels hold few pixels but
receive as many samples as the finest: their rows would take most additions and meet on few addresses. W is never
stored: a program makes it for a square of pixels, where it is an outer product of columns and rows for every sample,
and for one block of queries after the other, multiplies on the tensor cores, and adds its sum to grad_value once. A
product of float32 is three of TF32, which come close to float32.

Letters and memory layout are those of forward.py.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from deta_kernels.configs import sizes_on
from deta_kernels.geometry import origin_and_step, softmax_terms

SIDE, BLOCK_QUERIES, NUM_WARPS = 8, 32, 4
QUERIES_PER_PROGRAM = 1024
"""These four are fixed: they decide the order of the sums, which must not change with the launch."""


@triton.jit
def _tent(position, pixel):
    """``[SIDE, BQ]``: what every query takes from a column or row of pixels."""
    return tl.maximum(1.0 - tl.abs(position[None, :] - pixel.to(tl.float32)[:, None]), 0.0)


@triton.jit
def add_coarse_kernel(
    tiles_ptr,
    sizes_ptr,
    reference_ptr,
    offsets_ptr,
    logits_ptr,
    grad_output_ptr,
    scale_ptr,
    grad_value_ptr,
    num_pixels,
    num_queries,
    NUM_HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    NUM_LEVELS: tl.constexpr,
    NUM_POINTS: tl.constexpr,
    REFERENCE_SIZE: tl.constexpr,
    QUERIES_PER_PROGRAM: tl.constexpr,
    SIDE: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
):
    """Add to ``grad_value``; the grid is (tiles, parts of the queries, images times heads).

    A tile is a square of pixels of one level: its row of ``tiles`` is (level, first pixel of the level, top, left).
    ``scale_ptr`` holds what multiplies the sums.
    """
    tile, part = tl.program_id(0), tl.program_id(1)
    image, head = (tl.program_id(2) // NUM_HEADS).to(tl.int64), tl.program_id(2) % NUM_HEADS
    level, level_start = tl.load(tiles_ptr + 4 * tile), tl.load(tiles_ptr + 4 * tile + 1)
    height, width = tl.load(sizes_ptr + 2 * level), tl.load(sizes_ptr + 2 * level + 1)
    top, left = tl.load(tiles_ptr + 4 * tile + 2), tl.load(tiles_ptr + 4 * tile + 3)
    rows, columns = top + tl.arange(0, SIDE), left + tl.arange(0, SIDE)
    channels = tl.arange(0, BLOCK_CHANNELS)
    is_channel = channels < CHANNELS
    total = tl.zeros((SIDE * SIDE, BLOCK_CHANNELS), tl.float32)
    start = part * QUERIES_PER_PROGRAM
    for first_query in range(start, min(start + QUERIES_PER_PROGRAM, num_queries), BLOCK_QUERIES):
        query = first_query + tl.arange(0, BLOCK_QUERIES)
        is_query = query < num_queries
        row = image * num_queries + query  # int64
        point = (row * NUM_HEADS + head) * (NUM_LEVELS * NUM_POINTS)
        maximum, inverse_sum = softmax_terms(logits_ptr, point, is_query, NUM_LEVELS * NUM_POINTS, BLOCK_SAMPLES)
        origin_x, origin_y, step_x, step_y = origin_and_step(
            reference_ptr,
            row * NUM_LEVELS + level,
            height.to(tl.float32),
            width.to(tl.float32),
            is_query,
            NUM_POINTS,
            REFERENCE_SIZE,
        )
        weights = tl.zeros((SIDE, SIDE, BLOCK_QUERIES), tl.float32)
        for index in tl.static_range(NUM_POINTS):
            sample = point + level * NUM_POINTS + index
            logit = tl.load(logits_ptr + sample, mask=is_query, other=0.0).to(tl.float32)
            offset_x = tl.load(offsets_ptr + 2 * sample, mask=is_query, other=0.0).to(tl.float32)
            offset_y = tl.load(offsets_ptr + 2 * sample + 1, mask=is_query, other=0.0).to(tl.float32)
            weight = tl.exp(logit - maximum) * inverse_sum
            of_columns = _tent(origin_x + step_x * offset_x, columns)
            of_rows = weight[None, :] * _tent(origin_y + step_y * offset_y, rows)
            weights += of_rows[:, None, :] * of_columns[None, :, :]
        pointer = grad_output_ptr + ((row * NUM_HEADS + head) * CHANNELS)[:, None] + channels[None, :]
        upstream = tl.load(pointer, mask=is_query[:, None] & is_channel[None, :], other=0.0)
        weights = tl.reshape(weights, (SIDE * SIDE, BLOCK_QUERIES))
        total = tl.dot(weights, upstream.to(tl.float32), total, input_precision="tf32x3")
    pixel = tl.reshape(rows[:, None] * width + columns[None, :], (SIDE * SIDE,))
    is_pixel = tl.reshape((rows < height)[:, None] & (columns < width)[None, :], (SIDE * SIDE,))
    place = ((image * num_pixels + level_start + pixel) * NUM_HEADS + head) * CHANNELS
    addend = (total * tl.load(scale_ptr)).to(grad_value_ptr.dtype.element_ty)
    mask = is_pixel[:, None] & is_channel[None, :]
    tl.atomic_add(grad_value_ptr + place[:, None] + channels[None, :], addend, mask=mask, sem="relaxed")


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
    num_images, num_queries, num_heads, num_levels, num_points, _ = offsets.shape
    channels = grad_output.shape[3]
    tiles = _tiles_on(grad_output.device, tuple(sizes), largest_level)
    if not len(tiles):
        return
    grid = (len(tiles), triton.cdiv(num_queries, QUERIES_PER_PROGRAM), num_images * num_heads)
    add_coarse_kernel[grid](
        tiles,
        sizes_on(grad_output.device, tuple(sizes)),
        reference,
        offsets,
        logits,
        grad_output,
        scale,
        grad_value,
        grad_value.shape[1],
        num_queries,
        num_heads,
        channels,
        num_levels,
        num_points,
        reference.shape[3],
        QUERIES_PER_PROGRAM=QUERIES_PER_PROGRAM,
        SIDE=SIDE,
        BLOCK_QUERIES=BLOCK_QUERIES,
        BLOCK_CHANNELS=triton.next_power_of_2(channels),
        BLOCK_SAMPLES=triton.next_power_of_2(num_levels * num_points),
        num_warps=NUM_WARPS,
        enable_fp_fusion=True,
    )


@lru_cache(maxsize=1024)
def _tiles_on(device: torch.device, sizes: tuple[int, ...], largest_level: int) -> Tensor:
    """``[N, 4]`` int32 on ``device``, kept as the sizes are: level, its first pixel, and top and left of the square."""
    tiles, start = [], 0
    for level, (height, width) in enumerate(zip(sizes[0::2], sizes[1::2], strict=True)):
        if height * width <= largest_level:
            tiles += [(level, start, top, left) for top in range(0, height, SIDE) for left in range(0, width, SIDE)]
        start += height * width
    return torch.tensor(tiles, dtype=torch.int32, device=device).view(-1, 4)
