"""Multi-scale deformable attention for CPUs, compiled by Numba: the inner loops only, no checks.

For query q, head h and sampling point k of level l, with attention a = softmax(logits) over all k,

    pixel     = reference * size_l - 0.5 + step_l * offset          (x and y alike)
    step_l    = 1 for reference points, size_l * reference_wh / (2 P) for reference boxes
    output    = sum_k a_k * sum_corners weight_corner(pixel_k) * value[corner]

Memory layout (row-major): value [B*H, S, D], one plane per image and head so that the plane of a head stays in
the cache; reference [B*Q, L, 2|4]; offsets [B*Q*H, K, 2]; attention [B*Q*H, K]; output [B*Q*H, D]; sizes [L, 2]
(height, width). B images, Q queries, H heads, S pixels of all levels, D channels of a head, K = L * P points.

Sampling points are prepared for ``QUERY_BLOCK`` queries at a time in loops without branches, which the compiler
turns into vector code; the sums then run over the D contiguous channels of a row. One work item owns one plane
in the backward pass, so no two threads add to one row and the result does not depend on their number.

Corners outside the map take the index of the nearest pixel and a mask of zero. A NaN coordinate gives a NaN
result and never an index outside the map.
"""

import logging
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_LOGGER = logging.getLogger(__name__)

QUERY_BLOCK = 8  # queries located together; their tables (8 x 20 points x 56 bytes) stay in a 32 KB L1 cache

# The members of "fast" arithmetic that keep NaN and infinity intact.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
_Kernel = Callable[..., Any]


def _compile(function: _Kernel) -> _Kernel:
    options = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # neither the package folder nor the user's cache folder can be written
        _LOGGER.info("no writable folder for compiled code (set NUMBA_CACHE_DIR): compiling in every process")
        return numba.njit(**options)(function)  # type: ignore[no-any-return]


def _locate_axis(pixel, size, count, lower, upper, has_lower, has_upper, fraction):
    """Along one axis: indices of both neighbours, whether they lie inside the map (1 or 0), and the fraction."""
    zero, one = pixel.dtype.type(0), pixel.dtype.type(1)
    for k in range(count):
        position, end = pixel[k], size[k]
        clamped = position if position > -one else -one  # NaN becomes -1
        clamped = clamped if clamped < end else end
        floor = np.floor(clamped)
        inside = not ((position < -one) | (position >= end))
        has_lower[k] = one if inside & (floor >= zero) else zero
        has_upper[k] = one if inside & (floor < end - one) else zero
        fraction[k] = position - floor if inside else zero
        index, last = np.int32(floor), np.int32(np.int32(end) - np.int32(1))
        lower[k] = max(min(index, last), np.int32(0))
        upper[k] = min(np.int32(index + np.int32(1)), last)


def _pixels_to_rows(start, width, count, lower, upper):
    """Turn the two vertical indices into the index of the first pixel of that row of the level."""
    for k in range(count):
        lower[k] = start[k] + lower[k] * width[k]
        upper[k] = start[k] + upper[k] * width[k]


def _origin_and_step(reference, sizes, num_points, origin, step):
    """Pixel position of the reference in every level and pixels per unit of offset; all ``[L, 2]`` as (x, y)."""
    half = origin.dtype.type(0.5)
    for level in range(sizes.shape[0]):
        for axis in range(2):
            size = origin.dtype.type(sizes[level, 1 - axis])
            origin[level, axis] = reference[level, axis] * size - half
            step[level, axis] = 1
            if reference.shape[1] == 4:
                step[level, axis] = reference[level, 2 + axis] * size * half / num_points


def _pixel_positions(offsets, level_of, origin, step, axis, pixel):
    for k in range(level_of.shape[0]):
        level = level_of[k]
        pixel[k] = origin[level, axis] + step[level, axis] * offsets[k, axis]


def _level_tables(sizes, level_of, dtype_like):
    """Size, width and first pixel of the level of every point, repeated for a block of queries."""
    num_points = level_of.shape[0]
    total = QUERY_BLOCK * num_points
    extent = np.empty((2, total), dtype_like.dtype)  # width, height
    width = np.empty(total, np.int32)
    start = np.empty(total, np.int32)
    starts = np.zeros(sizes.shape[0] + 1, np.int32)
    for level in range(sizes.shape[0]):
        starts[level + 1] = starts[level] + sizes[level, 0] * sizes[level, 1]
    for k in range(total):
        level = level_of[k % num_points]
        extent[0, k], extent[1, k] = sizes[level, 1], sizes[level, 0]
        width[k], start[k] = sizes[level, 1], starts[level]
    return extent, width, start


def _locate(reference, sizes, offsets, level_of, tables, images, floats, indices):
    """Fill ``floats [8, .]`` and ``indices [4, .]`` for a block of queries of one head.

    Args:
        reference: ``[n, L, 2|4]`` of the queries of the block.
        sizes: ``[L, 2]``.
        offsets: ``[n, K, 2]``.
        level_of: ``[K]`` level of each point.
        tables: what ``_level_tables`` gives.
        images: scratch pair ``origin, step``, each ``[L, 2]``.
        floats: has_left, has_right, fraction_x, has_top, has_bottom, fraction_y, x, y.
        indices: column left, column right, first pixel of the upper row, of the lower row.
    """
    extent, width, start = tables
    origin, step = images
    num_points = level_of.shape[0]
    count = reference.shape[0] * num_points
    for query in range(reference.shape[0]):
        _origin_and_step(reference[query], sizes, num_points // sizes.shape[0], origin, step)
        block = slice(query * num_points, (query + 1) * num_points)
        _pixel_positions(offsets[query], level_of, origin, step, 0, floats[6, block])
        _pixel_positions(offsets[query], level_of, origin, step, 1, floats[7, block])
    _locate_axis(floats[6], extent[0], count, indices[0], indices[1], floats[0], floats[1], floats[2])
    _locate_axis(floats[7], extent[1], count, indices[2], indices[3], floats[3], floats[4], floats[5])
    _pixels_to_rows(start, width, count, indices[2], indices[3])
