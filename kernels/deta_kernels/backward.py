# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Multi-scale deformable attention on CUDA, backward: one Triton kernel for all gradients.

With g the upstream gradient of a query and head, a the attention of a sample, v_ij its four corners and
d_ij = <g, v_ij>, everything follows from the four numbers d_ij:

    grad a       = r = bilinear(d)
    grad logit   = a (r - <g, output>), because the sum of a r over all samples is <g, output>
    grad x       = a ((1 - fy) (d01 - d00) + fy (d11 - d10)), times step for the offset; y alike
    grad v_ij   += a w_ij g

Many queries add to one row of value, so these sums are atomic, in float32 whatever the inputs are; on compute
capability 9.0 four neighbouring channels are one vector reduction. Where there are many queries, coarse.py makes the
sums of coarse levels. Atomic float32 sums depend on the order of the threads in the last bits. Under
``torch.use_deterministic_algorithms(True)`` the same kernels add integers instead: g is scaled by a power of two such
that no sum can exceed 2^62, so every order gives the same bits, 47 of them below the largest |g| at 22,000 queries. A
sum is lost to NaN if g has a value that is not finite.

Letters and memory layout are those of forward.py; grad_value is [B, S, H, D] float32 or int64.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from deta_kernels.coarse import add_coarse
from deta_kernels.configs import Config, check_extent, largest_coarse_level, run_best, sizes_on
from deta_kernels.geometry import add_rows, load_corner, neighbours, origin_and_step, softmax_terms


@triton.jit
def _add_corner(pointer, exists, weight, upstream, channels, CHANNELS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr):
    mask = exists[:, None]
    if BLOCK_CHANNELS != CHANNELS:
        mask = mask & (channels < CHANNELS)[None, :]
    add_rows(pointer, channels, weight[:, None] * upstream, mask)


@triton.jit
def attend_backward_kernel(
    value_ptr,
    sizes_ptr,
    reference_ptr,
    offsets_ptr,
    logits_ptr,
    output_ptr,
    grad_output_ptr,
    scale_ptr,
    grad_value_ptr,
    grad_reference_ptr,
    grad_offsets_ptr,
    grad_logits_ptr,
    num_pixels,
    num_queries,
    largest_coarse_level,
    NUM_HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    NUM_LEVELS: tl.constexpr,
    NUM_POINTS: tl.constexpr,
    REFERENCE_SIZE: tl.constexpr,
    WITH_REFERENCE: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
):
    """Write all gradients; ``grad_value`` is added to, ``grad_reference`` is ``[B, Q, H, L, 2 or 4]`` per head.

    The grid is (blocks of queries, heads, images). ``scale_ptr`` holds what multiplies the addends of
    ``grad_value``, to which levels with up to ``largest_coarse_level`` pixels add nothing here.
    """
    query = tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    channels = tl.arange(0, BLOCK_CHANNELS)
    is_query = query < num_queries
    row = image * num_queries + query  # int64
    point = (row * NUM_HEADS + head) * (NUM_LEVELS * NUM_POINTS)
    maximum, inverse_sum = softmax_terms(logits_ptr, point, is_query, NUM_LEVELS * NUM_POINTS, BLOCK_SAMPLES)
    result = (row * NUM_HEADS + head) * CHANNELS
    upstream = load_corner(grad_output_ptr + result, is_query, channels, CHANNELS, BLOCK_CHANNELS)
    output = load_corner(output_ptr + result, is_query, channels, CHANNELS, BLOCK_CHANNELS)
    mean = tl.sum(upstream * output, axis=1)
    scaled = upstream * tl.load(scale_ptr)
    first = (image * num_pixels * NUM_HEADS + head) * CHANNELS
    for level in range(NUM_LEVELS):
        height, width = tl.load(sizes_ptr + 2 * level), tl.load(sizes_ptr + 2 * level + 1)
        level_row = row * NUM_LEVELS + level
        origin_x, origin_y, step_x, step_y = origin_and_step(
            reference_ptr,
            level_row,
            height.to(tl.float32),
            width.to(tl.float32),
            is_query,
            NUM_POINTS,
            REFERENCE_SIZE,
        )
        sum_x = tl.zeros((BLOCK_QUERIES,), tl.float32)
        sum_y, sum_width, sum_height = sum_x, sum_x, sum_x
        for index in tl.static_range(NUM_POINTS):
            sample = point + level * NUM_POINTS + index
            logit = tl.load(logits_ptr + sample, mask=is_query, other=0.0).to(tl.float32)
            offset_x = tl.load(offsets_ptr + 2 * sample, mask=is_query, other=0.0).to(tl.float32)
            offset_y = tl.load(offsets_ptr + 2 * sample + 1, mask=is_query, other=0.0).to(tl.float32)
            weight = tl.exp(logit - maximum) * inverse_sum
            left, fraction_x, has_left, has_right = neighbours(origin_x + step_x * offset_x, width)
            top, fraction_y, has_top, has_bottom = neighbours(origin_y + step_y * offset_y, height)
            has_left, has_right = has_left & is_query, has_right & is_query
            corner = first + (top * width + left) * (NUM_HEADS * CHANNELS)
            right_corner = corner + NUM_HEADS * CHANNELS
            below = corner + width * (NUM_HEADS * CHANNELS)
            right_below = below + NUM_HEADS * CHANNELS
            v00 = load_corner(value_ptr + corner, has_top & has_left, channels, CHANNELS, BLOCK_CHANNELS)
            v01 = load_corner(value_ptr + right_corner, has_top & has_right, channels, CHANNELS, BLOCK_CHANNELS)
            v10 = load_corner(value_ptr + below, has_bottom & has_left, channels, CHANNELS, BLOCK_CHANNELS)
            v11 = load_corner(value_ptr + right_below, has_bottom & has_right, channels, CHANNELS, BLOCK_CHANNELS)
            d00, d01 = tl.sum(upstream * v00, axis=1), tl.sum(upstream * v01, axis=1)
            d10, d11 = tl.sum(upstream * v10, axis=1), tl.sum(upstream * v11, axis=1)
            upper = d00 + fraction_x * (d01 - d00)
            lower = d10 + fraction_x * (d11 - d10)
            grad_x = weight * ((1.0 - fraction_y) * (d01 - d00) + fraction_y * (d11 - d10))
            grad_y = weight * (lower - upper)
            grad_logit = weight * (upper + fraction_y * (lower - upper) - mean)
            tl.store(grad_logits_ptr + sample, grad_logit, mask=is_query)
            tl.store(grad_offsets_ptr + 2 * sample, grad_x * step_x, mask=is_query)
            tl.store(grad_offsets_ptr + 2 * sample + 1, grad_y * step_y, mask=is_query)
            sum_x, sum_y = sum_x + grad_x, sum_y + grad_y
            if REFERENCE_SIZE == 4:
                sum_width, sum_height = sum_width + grad_x * offset_x, sum_height + grad_y * offset_y
            if height * width > largest_coarse_level:
                w_top, w_bottom = weight * (1.0 - fraction_y), weight * fraction_y
                _add_corner(
                    grad_value_ptr + corner,
                    has_top & has_left,
                    w_top * (1.0 - fraction_x),
                    scaled,
                    channels,
                    CHANNELS,
                    BLOCK_CHANNELS,
                )
                _add_corner(
                    grad_value_ptr + right_corner,
                    has_top & has_right,
                    w_top * fraction_x,
                    scaled,
                    channels,
                    CHANNELS,
                    BLOCK_CHANNELS,
                )
                _add_corner(
                    grad_value_ptr + below,
                    has_bottom & has_left,
                    w_bottom * (1.0 - fraction_x),
                    scaled,
                    channels,
                    CHANNELS,
                    BLOCK_CHANNELS,
                )
                _add_corner(
                    grad_value_ptr + right_below,
                    has_bottom & has_right,
                    w_bottom * fraction_x,
                    scaled,
                    channels,
                    CHANNELS,
                    BLOCK_CHANNELS,
                )
        if WITH_REFERENCE:
            pointer = grad_reference_ptr + ((row * NUM_HEADS + head) * NUM_LEVELS + level) * REFERENCE_SIZE
            tl.store(pointer, sum_x * width, mask=is_query)
            tl.store(pointer + 1, sum_y * height, mask=is_query)
            if REFERENCE_SIZE == 4:
                tl.store(pointer + 2, sum_width * (width * (0.5 / NUM_POINTS)), mask=is_query)
                tl.store(pointer + 3, sum_height * (height * (0.5 / NUM_POINTS)), mask=is_query)
        first += height * width * (NUM_HEADS * CHANNELS)


def backward(
    grad_output: Tensor,
    output: Tensor,
    value: Tensor,
    sizes: Sequence[int],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    with_reference: bool,
    deterministic: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of ``value``, ``reference``, ``offsets`` and ``logits``, each in the dtype of its input.

    Args:
        grad_output: ``[B, Q, H, D]``.
        output: What ``forward`` returned.
        value: Like the following, as given to ``forward``.
        sizes: ``h0, w0, h1, w1, ...``.
        reference: See above.
        offsets: See above.
        logits: See above.
        with_reference: Whether the gradient of ``reference`` is wanted; it is empty otherwise.
        deterministic: Whether ``grad_value`` must not depend on the order of the additions.
    """
    num_images, num_queries, num_heads, num_levels, num_points, _ = offsets.shape
    num_pixels, channels = value.shape[1], value.shape[3]
    check_extent(sizes, num_heads, channels)
    block_channels = triton.next_power_of_2(channels)
    value, reference, offsets, logits = (x.contiguous() for x in (value, reference, offsets, logits))
    grad_output, output = grad_output.contiguous(), output.contiguous()
    scale, unscale = _fixed_point(grad_output, num_queries) if deterministic else _no_scale(value.device)
    sum_dtype = torch.int64 if deterministic else torch.float32
    grad_value = torch.empty(value.shape, dtype=sum_dtype, device=value.device)
    per_head = (num_images if with_reference else 0, num_queries, num_heads, num_levels, reference.shape[3])
    grad_reference = torch.empty(per_head, dtype=torch.float32, device=value.device)
    grad_offsets, grad_logits = torch.empty_like(offsets), torch.empty_like(logits)
    inputs = (value, sizes_on(value.device, tuple(sizes)), reference, offsets, logits, output, grad_output, scale)
    shape = (num_heads, channels, num_levels, num_points, reference.shape[3], with_reference)
    largest_coarse = largest_coarse_level(value.device, num_queries, channels)

    def run(config: Config) -> None:
        block_queries = config.block_queries(block_channels)
        grad_value.zero_()
        attend_backward_kernel[(triton.cdiv(num_queries, block_queries), num_heads, num_images)](
            *inputs,
            grad_value,
            grad_reference,
            grad_offsets,
            grad_logits,
            num_pixels,
            num_queries,
            largest_coarse,
            *shape,
            BLOCK_QUERIES=block_queries,
            BLOCK_CHANNELS=block_channels,
            BLOCK_SAMPLES=triton.next_power_of_2(num_levels * num_points),
            num_warps=config.num_warps,
            enable_fp_fusion=True,
        )

    if grad_output.numel() > 0:
        run_best("deterministic" if deterministic else "backward", value, num_queries, shape, run)
        add_coarse(grad_value, largest_coarse, sizes, reference, offsets, logits, grad_output, scale)
    else:
        grad_value.zero_()
    if unscale is not None:
        grad_value = torch.mul(grad_value, unscale, out=torch.empty_like(value))
    return (
        grad_value.to(value.dtype),
        grad_reference.sum(2).to(reference.dtype),
        grad_offsets,
        grad_logits,
    )


def _fixed_point(grad_output: Tensor, num_queries: int) -> tuple[Tensor, Tensor]:
    """The power of two that makes every possible sum of integers fit, ``[1]`` float32, and its inverse, float64.

    The weights of one query's samples on one pixel sum to at most 1, so ``num_queries`` times the largest |g|
    bounds every sum. No value is read back from the device.
    """
    largest = grad_output.abs().amax().float().reshape(1) if grad_output.numel() else grad_output.new_ones(1).float()
    exponent = 62 - num_queries.bit_length() - torch.frexp(largest).exponent
    exponent = exponent.clamp(-120, 120)
    one = torch.ones_like(largest)
    unscale = torch.ldexp(one.double(), -exponent)
    return torch.ldexp(one, exponent), torch.where(largest.isfinite(), unscale, torch.nan)


def _no_scale(device: torch.device) -> tuple[Tensor, None]:
    return torch.ones(1, dtype=torch.float32, device=device), None
