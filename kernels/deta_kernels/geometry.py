# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Where a block of queries samples one level: Triton functions that forward and backward share, and addition to rows.

``BQ`` is the number of queries of a block. Positions are float32 whatever the inputs are: in bfloat16 neighbouring
positions on a map of 167 columns are 0.65 pixels apart.
"""

import triton
import triton.language as tl


@triton.jit
def origin_and_step(
    reference_ptr, row, height, width, is_query, NUM_POINTS: tl.constexpr, REFERENCE_SIZE: tl.constexpr
):
    """Pixel position of the reference and pixels per unit of offset.

    Args:
        reference_ptr: float tensor whose rows of ``REFERENCE_SIZE`` numbers are (x, y) or (cx, cy, w, h).
        row: ``[BQ]`` int64 row of every query at this level.
        height: Of the level, float32.
        width: Of the level, float32.
        is_query: ``[BQ]`` mask.
        NUM_POINTS: P.
        REFERENCE_SIZE: 2 or 4.
    """
    pointer = reference_ptr + row * REFERENCE_SIZE
    x = tl.load(pointer, mask=is_query, other=0.0).to(tl.float32) * width - 0.5
    y = tl.load(pointer + 1, mask=is_query, other=0.0).to(tl.float32) * height - 0.5
    if REFERENCE_SIZE == 4:
        step_x = tl.load(pointer + 2, mask=is_query, other=0.0).to(tl.float32) * width * (0.5 / NUM_POINTS)
        step_y = tl.load(pointer + 3, mask=is_query, other=0.0).to(tl.float32) * height * (0.5 / NUM_POINTS)
    else:
        step_x = tl.full(x.shape, 1.0, tl.float32)
        step_y = tl.full(y.shape, 1.0, tl.float32)
    return x, y, step_x, step_y


@triton.jit
def neighbours(position, size):
    """Along one axis: the lower index, the fraction, and whether the lower and the upper neighbour exist.

    ``position`` is ``[BQ]`` float32, ``size`` the int32 length of the axis. A NaN stays in the fraction.
    """
    end = size.to(tl.float32) + 1.0
    clamped = tl.maximum(position, -2.0, propagate_nan=tl.PropagateNan.ALL)
    clamped = tl.minimum(clamped, end, propagate_nan=tl.PropagateNan.ALL)
    floor = tl.floor(clamped)
    lower = floor.to(tl.int32)
    has_lower = (lower >= 0) & (lower < size)
    has_upper = (lower >= -1) & (lower < size - 1)
    return lower, clamped - floor, has_lower, has_upper


@triton.jit
def softmax_terms(logits_ptr, point, is_query, NUM_SAMPLES: tl.constexpr, BLOCK_SAMPLES: tl.constexpr):
    """Maximum and inverse sum of the exponentials of every query's logits, both ``[BQ]`` float32."""
    samples = tl.arange(0, BLOCK_SAMPLES)
    mask = is_query[:, None] & (samples < NUM_SAMPLES)[None, :]
    logits = tl.load(logits_ptr + point[:, None] + samples[None, :], mask=mask, other=0.0).to(tl.float32)
    logits = tl.where((samples < NUM_SAMPLES)[None, :], logits, -float("inf"))
    maximum = tl.max(logits, axis=1)
    return maximum, 1.0 / tl.sum(tl.exp(logits - maximum[:, None]), axis=1)


@triton.jit
def load_corner(pointer, exists, channels, CHANNELS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr):
    """``[BQ, BLOCK_CHANNELS]`` float32: one pixel's channels per query, 0 where it does not exist."""
    mask = exists[:, None]
    if BLOCK_CHANNELS != CHANNELS:
        mask = mask & (channels < CHANNELS)[None, :]
    return tl.load(pointer[:, None] + channels[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def add_rows(row_ptr, channels, addend, mask):
    """Add ``[N, BLOCK_CHANNELS]`` float32 numbers atomically to N rows of float32 or int64, in any order."""
    pointer = row_ptr[:, None] + channels[None, :]
    if pointer.dtype.element_ty == tl.int64:
        # There are no vector reductions of integers: a thread with several neighbouring channels would leave gaps
        # between those of its warp, and each of its reductions would move more sectors than the data fill.
        pointer = tl.multiple_of(pointer, (1, 1))  # of an operation's result: Triton 3.6 forgets it of an argument
    tl.atomic_add(pointer, addend.to(pointer.dtype.element_ty), mask=mask, sem="relaxed")
