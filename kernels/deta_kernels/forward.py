# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Multi-scale deformable attention on CUDA, forward: one Triton kernel, softmax and locations included.

    output[b, q, h] = sum_lp softmax(logits[b, q, h])_lp bilinear(value_l[b, :, h], pixel_lp)
    pixel_lp        = reference * size_l - 0.5 + step_l * offset_lp        (x and y; see geometry.py)

Memory, all row-major: value and output [B, S or Q, H, D], sizes [L, 2] int32 (height, width), reference
[B, Q, L, 2 or 4], offsets [B, Q, H, L, P, 2], logits [B, Q, H, L*P]. B images, S pixels of all levels, Q queries,
H heads, D channels of a head, L levels, P points.

One program makes a block of queries of one head and image. Neighbouring queries of an encoder sample neighbouring
pixels, so the rows they share are read from the L1 cache. The loop over levels is a real loop: unrolled, the loads
of all levels are hoisted and spill on compute capability 9.0 (192 bytes of stack for 32 queries and four warps,
Triton 3.9, ptxas 12.9).
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from deta_kernels.configs import Config, check_extent, run_best, sizes_on
from deta_kernels.geometry import load_corner, neighbours, origin_and_step, softmax_terms


@triton.jit
def attend_kernel(
    value_ptr,
    sizes_ptr,
    reference_ptr,
    offsets_ptr,
    logits_ptr,
    output_ptr,
    num_pixels,
    num_queries,
    NUM_HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    NUM_LEVELS: tl.constexpr,
    NUM_POINTS: tl.constexpr,
    REFERENCE_SIZE: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
):
    """Write ``output``; the grid is (blocks of queries, heads, images)."""
    query = tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    channels = tl.arange(0, BLOCK_CHANNELS)
    is_query = query < num_queries
    row = image * num_queries + query  # int64
    point = (row * NUM_HEADS + head) * (NUM_LEVELS * NUM_POINTS)
    maximum, inverse_sum = softmax_terms(logits_ptr, point, is_query, NUM_LEVELS * NUM_POINTS, BLOCK_SAMPLES)
    level_ptr = value_ptr + (image * num_pixels * NUM_HEADS + head) * CHANNELS
    total = tl.zeros((BLOCK_QUERIES, BLOCK_CHANNELS), tl.float32)
    for level in range(NUM_LEVELS):
        height, width = tl.load(sizes_ptr + 2 * level), tl.load(sizes_ptr + 2 * level + 1)
        origin_x, origin_y, step_x, step_y = origin_and_step(
            reference_ptr,
            row * NUM_LEVELS + level,
            height.to(tl.float32),
            width.to(tl.float32),
            is_query,
            NUM_POINTS,
            REFERENCE_SIZE,
        )
        for index in tl.static_range(NUM_POINTS):
            sample = point + level * NUM_POINTS + index
            logit = tl.load(logits_ptr + sample, mask=is_query, other=0.0).to(tl.float32)
            offset_x = tl.load(offsets_ptr + 2 * sample, mask=is_query, other=0.0).to(tl.float32)
            offset_y = tl.load(offsets_ptr + 2 * sample + 1, mask=is_query, other=0.0).to(tl.float32)
            weight = tl.exp(logit - maximum) * inverse_sum
            left, fraction_x, has_left, has_right = neighbours(origin_x + step_x * offset_x, width)
            top, fraction_y, has_top, has_bottom = neighbours(origin_y + step_y * offset_y, height)
            has_left, has_right = has_left & is_query, has_right & is_query
            corner = level_ptr + (top * width + left) * (NUM_HEADS * CHANNELS)
            below = corner + width * (NUM_HEADS * CHANNELS)
            v00 = load_corner(corner, has_top & has_left, channels, CHANNELS, BLOCK_CHANNELS)
            v01 = load_corner(corner + NUM_HEADS * CHANNELS, has_top & has_right, channels, CHANNELS, BLOCK_CHANNELS)
            v10 = load_corner(below, has_bottom & has_left, channels, CHANNELS, BLOCK_CHANNELS)
            v11 = load_corner(below + NUM_HEADS * CHANNELS, has_bottom & has_right, channels, CHANNELS, BLOCK_CHANNELS)
            upper, lower = weight * (1.0 - fraction_y), weight * fraction_y
            total += (upper * (1.0 - fraction_x))[:, None] * v00 + (upper * fraction_x)[:, None] * v01
            total += (lower * (1.0 - fraction_x))[:, None] * v10 + (lower * fraction_x)[:, None] * v11
        level_ptr += height * width * (NUM_HEADS * CHANNELS)
    mask = is_query[:, None] & (channels < CHANNELS)[None, :]
    tl.store(output_ptr + ((row * NUM_HEADS + head) * CHANNELS)[:, None] + channels[None, :], total, mask=mask)


def forward(value: Tensor, sizes: Sequence[int], reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    """The operator of ``deta_kernels.deformable_attention``, without its checks.

    ``sizes`` is ``h0, w0, h1, w1, ...``.
    """
    num_images, num_queries, num_heads, num_levels, num_points, _ = offsets.shape
    num_pixels, channels = value.shape[1], value.shape[3]
    check_extent(sizes, num_heads, channels)
    output = torch.empty(num_images, num_queries, num_heads, channels, dtype=value.dtype, device=value.device)
    if output.numel() == 0:
        return output
    block_channels = triton.next_power_of_2(channels)
    tensors = (
        value.contiguous(),
        sizes_on(value.device, tuple(sizes)),
        reference.contiguous(),
        offsets.contiguous(),
        logits.contiguous(),
        output,
    )
    shape = (num_heads, channels, num_levels, num_points, reference.shape[3])

    def run(config: Config) -> None:
        block_queries = config.block_queries(block_channels)
        attend_kernel[(triton.cdiv(num_queries, block_queries), num_heads, num_images)](
            *tensors,
            num_pixels,
            num_queries,
            *shape,
            BLOCK_QUERIES=block_queries,
            BLOCK_CHANNELS=block_channels,
            BLOCK_SAMPLES=triton.next_power_of_2(num_levels * num_points),
            num_warps=config.num_warps,
            enable_fp_fusion=True,
        )

    run_best("forward", value, num_queries, shape, run)
    return output
