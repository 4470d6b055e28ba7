# mypy: allow-untyped-defs, allow-untyped-calls
"""Multi-scale deformable attention for CPUs, compiled by Numba: the inner loops only, no checks.

For query q and head h, with k running over the K = L * P sampling points and a = softmax(logits) over k,

    pixel_k   = reference * size - 0.5 + step * offset_k          (x and y alike, size of the level of k)
    step      = 1 for reference points, size * reference_wh / (2 P) for reference boxes
    output    = sum_k a_k sum_corners weight(pixel_k, corner) value[corner]

Memory layout, all row-major: value [B, S, H, D] or, as one map for each image and head that stays in the cache,
maps [B*H, S, D]; reference [B, Q, L, 2 or 4]; offsets [B, Q, H, K, 2]; attention [B, Q, H, K]; output
[B, Q, H, D]; sizes [L, 2] (height, width). B images, Q queries, H heads, S pixels of all levels, D channels of a
head, L levels, P points.

Sampling points are located for ``QUERY_BLOCK`` queries at a time, in loops without branches that become vector
code; the sums then run over the D contiguous channels of a row. In the backward pass one call owns one map, so
no two threads add to one row and the result does not depend on their number. The length of the tuple ``lanes``
tells the compiler D: without it the loops are unrolled too far for 32 channels and the backward pass takes
twice as long.

A corner outside the map has mask 0 and the index of the nearest pixel. A NaN position gives NaN, never an index
outside the map.
"""

import logging
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_LOGGER = logging.getLogger(__name__)

QUERY_BLOCK = 8  # the tables of 8 queries x 20 points (48 bytes each) fit a 32 KB cache beside the rows
# Everything that "fast" arithmetic means except the assumption that there is no NaN and no infinity.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
# Rows of the scratch tables, see _locate.
_HAS_LEFT, _HAS_RIGHT, _FRACTION_X, _HAS_TOP, _HAS_BOTTOM, _FRACTION_Y, _X, _Y = range(8)
_LEFT, _RIGHT, _TOP, _BOTTOM = range(4)


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    options: dict[str, Any] = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        compiled: Callable[..., Any] = numba.njit(function, cache=True, **options)
    except RuntimeError:  # neither the package folder nor the user's cache folder can be written
        _LOGGER.info("no writable folder for compiled code (set NUMBA_CACHE_DIR): every process compiles anew")
        compiled = numba.njit(function, **options)
    return compiled


@_compile
def _locate_axis(position, size, lower, upper, has_lower, has_upper, fraction, count):
    zero, one = position.dtype.type(0), position.dtype.type(1)
    for k in range(count):
        here, end = position[k], size[k]
        inside = not ((here < -one) | (here >= end))
        clamped = here if here > -one else -one  # NaN becomes -1
        clamped = clamped if clamped < end else end
        floor = np.floor(clamped)
        has_lower[k] = one if inside & (floor >= zero) else zero
        has_upper[k] = one if inside & (floor < end - one) else zero
        fraction[k] = here - floor if inside else zero
        index = np.int32(floor)
        last = np.int32(np.int32(end) - np.int32(1))
        lower[k] = max(min(index, last), np.int32(0))
        upper[k] = min(np.int32(index + np.int32(1)), last)


@_compile
def _rows_to_pixels(start, width, upper_row, lower_row, count):
    for k in range(count):
        upper_row[k] = start[k] + upper_row[k] * width[k]
        lower_row[k] = start[k] + lower_row[k] * width[k]


@_compile
def _origin_and_step(reference, sizes, num_points, origin, step):
    half = origin.dtype.type(0.5)
    for level in range(sizes.shape[0]):
        for axis in range(2):
            size = origin.dtype.type(sizes[level, 1 - axis])
            origin[axis, level] = reference[level, axis] * size - half
            if reference.shape[1] == 4:
                step[axis, level] = reference[level, 2 + axis] * size * half / num_points
            else:
                step[axis, level] = 1


@_compile
def _positions(offsets, level_of, origin, step, x, y):
    for k in range(level_of.shape[0]):
        level = level_of[k]
        x[k] = origin[0, level] + step[0, level] * offsets[k, 0]
        y[k] = origin[1, level] + step[1, level] * offsets[k, 1]


@_compile
def _level_tables(sizes, num_points, dtype):
    """Level of the K points; then width and height, width, and first pixel of it for a block of queries."""
    num_levels = sizes.shape[0]
    level_of = np.empty(num_levels * num_points, np.int32)
    extent = np.empty((2, QUERY_BLOCK * level_of.shape[0]), dtype)
    width = np.empty(extent.shape[1], np.int32)
    start = np.empty(extent.shape[1], np.int32)
    first_pixel = 0
    for level in range(num_levels):
        for k in range(level * num_points, (level + 1) * num_points):
            level_of[k] = level
            for query in range(QUERY_BLOCK):
                n = query * level_of.shape[0] + k
                extent[0, n] = sizes[level, 1]
                extent[1, n] = sizes[level, 0]
                width[n] = sizes[level, 1]
                start[n] = first_pixel
        first_pixel += sizes[level, 0] * sizes[level, 1]
    return level_of, extent, width, start


@_compile
def _locate(queries, head, sizes, tables, origin, step, points, pixels):
    """Fill the tables ``points [8, n*K]`` and ``pixels [4, n*K]`` for n queries, at most a block, of one head."""
    reference, offsets = queries
    level_of, extent, width, start = tables
    num_points = level_of.shape[0]
    count = reference.shape[0] * num_points
    for query in range(reference.shape[0]):
        first, last = query * num_points, (query + 1) * num_points
        _origin_and_step(reference[query], sizes, num_points // sizes.shape[0], origin, step)
        _positions(offsets[query, head], level_of, origin, step, points[_X, first:last], points[_Y, first:last])
    _locate_axis(
        points[_X], extent[0], pixels[_LEFT], pixels[_RIGHT],
        points[_HAS_LEFT], points[_HAS_RIGHT], points[_FRACTION_X], count,
    )  # fmt: skip
    _locate_axis(
        points[_Y], extent[1], pixels[_TOP], pixels[_BOTTOM],
        points[_HAS_TOP], points[_HAS_BOTTOM], points[_FRACTION_Y], count,
    )  # fmt: skip
    _rows_to_pixels(start, width, pixels[_TOP], pixels[_BOTTOM], count)


@_compile
def forward(value, sizes, reference, offsets, attention, output, lanes, plane, first, last):
    """Write ``output[b, first:last, h]`` for ``plane = b * H + h``.

    ``value`` is ``[B, S, H, D]`` or ``[B*H, S, 1, D]``; ``lanes`` is any tuple of length D.
    """
    num_heads, num_points, num_levels = offsets.shape[2], offsets.shape[3], sizes.shape[0]
    image, head = plane // num_heads, plane % num_heads
    rows, member = value[plane // value.shape[2]], np.uintp(plane % value.shape[2])
    tables = _level_tables(sizes, num_points // num_levels, value.dtype)
    origin = np.empty((2, num_levels), value.dtype)
    step = np.empty((2, num_levels), value.dtype)
    points = np.empty((8, QUERY_BLOCK * num_points), value.dtype)
    pixels = np.empty((4, QUERY_BLOCK * num_points), np.int32)
    one = value.dtype.type(1)
    channels = np.uintp(len(lanes))  # unsigned indices: signed ones are checked for wrap-around
    for block in range(first, last, QUERY_BLOCK):
        end = min(block + QUERY_BLOCK, last)
        queries = reference[image, block:end], offsets[image, block:end]
        _locate(queries, head, sizes, tables, origin, step, points, pixels)
        for query in range(block, end):
            total = output[image, query, head]
            total[:] = 0
            for k in range(num_points):
                n = (query - block) * num_points + k
                weight = attention[image, query, head, k]
                left = points[_HAS_LEFT, n] * (one - points[_FRACTION_X, n])
                right = points[_HAS_RIGHT, n] * points[_FRACTION_X, n]
                top = points[_HAS_TOP, n] * (one - points[_FRACTION_Y, n]) * weight
                bottom = points[_HAS_BOTTOM, n] * points[_FRACTION_Y, n] * weight
                w0, w1, w2, w3 = left * top, right * top, left * bottom, right * bottom
                if w0 == 0 and w1 == 0 and w2 == 0 and w3 == 0:
                    continue
                p0 = np.uintp(pixels[_TOP, n] + pixels[_LEFT, n])
                p1 = np.uintp(pixels[_TOP, n] + pixels[_RIGHT, n])
                p2 = np.uintp(pixels[_BOTTOM, n] + pixels[_LEFT, n])
                p3 = np.uintp(pixels[_BOTTOM, n] + pixels[_RIGHT, n])
                for c in range(channels):
                    total[c] += (
                        w0 * rows[p0, member, c]
                        + w1 * rows[p1, member, c]
                        + w2 * rows[p2, member, c]
                        + w3 * rows[p3, member, c]
                    )


@_compile
def _add_row(rows, pixel, weight, source, channels):
    if weight != 0:
        for c in range(channels):
            rows[pixel, c] += weight * source[c]


@_compile
def _add_reference(grad_reference, grad_x, grad_y, offset, size, num_points):
    height, width = size
    grad_reference[0] += grad_x * width
    grad_reference[1] += grad_y * height
    if grad_reference.shape[0] == 4:
        grad_reference[2] += grad_x * width * offset[0] / (2 * num_points)
        grad_reference[3] += grad_y * height * offset[1] / (2 * num_points)


@_compile
def backward(
    maps, sizes, reference, offsets, attention, grad_output,
    grad_maps, grad_reference, grad_offsets, grad_logits, lanes, plane, first, last,
):  # fmt: skip
    """Write all gradients of queries ``first:last`` for ``plane = b * H + h``.

    ``grad_maps [B*H, S, D]`` and ``grad_reference [B, Q, H, L, 2 or 4]``, one per head, are added to; the latter
    is skipped if it is empty.
    """
    num_heads, num_points, num_levels = offsets.shape[2], offsets.shape[3], sizes.shape[0]
    image, head = plane // num_heads, plane % num_heads
    rows, grad_rows = maps[plane], grad_maps[plane]
    tables = _level_tables(sizes, num_points // num_levels, maps.dtype)
    level_of = tables[0]
    origin = np.empty((2, num_levels), maps.dtype)
    step = np.empty((2, num_levels), maps.dtype)
    points = np.empty((8, QUERY_BLOCK * num_points), maps.dtype)
    pixels = np.empty((4, QUERY_BLOCK * num_points), np.int32)
    grad_attention = np.empty(num_points, maps.dtype)
    zero, one = maps.dtype.type(0), maps.dtype.type(1)
    channels = np.uintp(len(lanes))
    for block in range(first, last, QUERY_BLOCK):
        end = min(block + QUERY_BLOCK, last)
        queries = reference[image, block:end], offsets[image, block:end]
        _locate(queries, head, sizes, tables, origin, step, points, pixels)
        for query in range(block, end):
            upstream = grad_output[image, query, head]
            _origin_and_step(reference[image, query], sizes, num_points // num_levels, origin, step)
            mean = zero  # of grad_attention under the attention
            for k in range(num_points):
                n = (query - block) * num_points + k
                weight = attention[image, query, head, k]
                has_left, has_right = points[_HAS_LEFT, n], points[_HAS_RIGHT, n]
                has_top, has_bottom = points[_HAS_TOP, n], points[_HAS_BOTTOM, n]
                left, right = has_left * (one - points[_FRACTION_X, n]), has_right * points[_FRACTION_X, n]
                top, bottom = has_top * (one - points[_FRACTION_Y, n]), has_bottom * points[_FRACTION_Y, n]
                p0 = np.uintp(pixels[_TOP, n] + pixels[_LEFT, n])
                p1 = np.uintp(pixels[_TOP, n] + pixels[_RIGHT, n])
                p2 = np.uintp(pixels[_BOTTOM, n] + pixels[_LEFT, n])
                p3 = np.uintp(pixels[_BOTTOM, n] + pixels[_RIGHT, n])
                d0, d1, d2, d3 = zero, zero, zero, zero
                if (has_left != zero or has_right != zero) and (has_top != zero or has_bottom != zero):
                    for c in range(channels):
                        d0 += upstream[c] * rows[p0, c]
                        d1 += upstream[c] * rows[p1, c]
                        d2 += upstream[c] * rows[p2, c]
                        d3 += upstream[c] * rows[p3, c]
                    _add_row(grad_rows, p0, weight * top * left, upstream, channels)
                    _add_row(grad_rows, p1, weight * top * right, upstream, channels)
                    _add_row(grad_rows, p2, weight * bottom * left, upstream, channels)
                    _add_row(grad_rows, p3, weight * bottom * right, upstream, channels)
                upper, lower = left * d0 + right * d1, left * d2 + right * d3
                grad_attention[k] = top * upper + bottom * lower
                mean += weight * grad_attention[k]
                grad_x = weight * (top * (has_right * d1 - has_left * d0) + bottom * (has_right * d3 - has_left * d2))
                grad_y = weight * (has_bottom * lower - has_top * upper)
                level = level_of[k]
                grad_offsets[image, query, head, k, 0] = grad_x * step[0, level]
                grad_offsets[image, query, head, k, 1] = grad_y * step[1, level]
                if grad_reference.shape[0] > 0:
                    grad_level = grad_reference[image, query, head, level]
                    shift = offsets[image, query, head, k]
                    _add_reference(grad_level, grad_x, grad_y, shift, sizes[level], num_points // num_levels)
            for k in range(num_points):
                grad_logits[image, query, head, k] = attention[image, query, head, k] * (grad_attention[k] - mean)
