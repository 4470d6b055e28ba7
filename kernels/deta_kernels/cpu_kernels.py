# mypy: allow-untyped-defs, allow-untyped-calls
"""Multi-scale deformable attention for CPUs, compiled by Numba: the inner loops only, no checks.

For query q and head h, with k running over the K = L * P sampling points and a = softmax(logits) over k,

    pixel_k   = reference * size - 0.5 + step * offset_k          (x and y alike, size of the level of k)
    step      = 1 for reference points, size * reference_wh / (2 P) for reference boxes
    output    = sum_k a_k sum_corners weight(pixel_k, corner) value[corner]

Memory layout, all row-major: value [B, S, H, D] or, as one map for each image and head that stays in the cache,
[B*H, S, 1, D]; reference [B, Q, L, 2 or 4]; offsets [B, Q, H, K, 2]; attention [B, Q, H, K]; output
[B, Q, H, D]; sizes [L, 2] (height, width). B images, Q queries, H heads, S pixels of all levels, D channels of a
head, L levels, P points.

Everything that is one number per sampling point is computed for ``QUERY_BLOCK`` queries at a time, in loops without
branches that become vector code. Only the rows of D channels are visited point by point, each as one vector, which
is written in LLVM's language: a compiled Python loop is checked for overlapping arrays at every row. The length of
the tuple ``lanes`` tells the compiler D. In the backward pass one call owns one map, so no two threads add to one
row and the result does not depend on their number.

All compiled functions live in this file, because Numba compiles anew only if the file of a function changes.

A corner outside the map has weight 0 and the index of the nearest pixel. A NaN position gives NaN, never an index
outside the map.
"""

import logging
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

_intrinsic: Callable[..., Any] = intrinsic  # what it makes is called with one argument less than it is defined with
_LOGGER = logging.getLogger(__name__)

QUERY_BLOCK = 8  # the tables of 8 queries x 20 points (112 bytes each) fit a 32 KB cache beside the rows
# Everything that "fast" arithmetic means except the assumption that there is no NaN and no infinity.
_FASTMATH = ("contract", "reassoc", "nsz", "arcp")
# Rows of the tables ``points [_NUM_ROWS, n*K]`` and ``pixels [4, n*K]``, see _locate and _differentiate.
_HAS_LEFT, _HAS_RIGHT, _HAS_TOP, _HAS_BOTTOM = range(4)
_LEFT, _RIGHT, _TOP, _BOTTOM = range(4, 8)  # weights of the two neighbours along each axis
_ATTENTION, _X, _Y, _STEP_X, _STEP_Y = range(8, 13)
_CORNER = 13  # to 16: upper left, upper right, lower left, lower right
_DOT = 17  # to 20: upstream gradient times the row of each corner
_GRAD_X, _GRAD_Y, _GRAD_ATTENTION = range(21, 24)
_NUM_ROWS = 24


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    options: dict[str, Any] = {"nogil": True, "fastmath": set(_FASTMATH), "error_model": "numpy"}
    try:
        compiled: Callable[..., Any] = numba.njit(function, cache=True, **options)
    except RuntimeError:  # neither the package folder nor the user's cache folder can be written
        _LOGGER.info("no writable folder for compiled code (set NUMBA_CACHE_DIR): every process compiles anew")
        compiled = numba.njit(function, **options)
    return compiled


def _pointer(builder, address, scalar, lanes):
    """Address of a row, its LLVM vector type and its alignment."""
    vector = ir.VectorType(ir.FloatType() if scalar.bitwidth == 32 else ir.DoubleType(), lanes.count)
    return builder.inttoptr(address, vector.as_pointer()), scalar.bitwidth // 8


def _load(builder, address, scalar, lanes):
    pointer, alignment = _pointer(builder, address, scalar, lanes)
    return builder.load(pointer, align=alignment)


def _scale(builder, scalar, vector):
    undefined, width = ir.Constant(vector.type, ir.Undefined), vector.type.count
    single = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    every = builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(ir.IntType(32), width), None))
    return builder.fmul(every, vector, flags=_FASTMATH)


@_intrinsic
def _add_scaled(_, target, weights, sources, lanes):
    """``row[target] += sum_i weights[i] * row[sources[i]]`` for rows given by address."""

    def generate(context, builder, signature, arguments):
        scalar, total = signature.args[1].dtype, None
        for index in range(signature.args[2].count):
            row = _load(builder, builder.extract_value(arguments[2], index), scalar, lanes)
            product = _scale(builder, builder.extract_value(arguments[1], index), row)
            total = product if total is None else builder.fadd(total, product, flags=_FASTMATH)
        pointer, alignment = _pointer(builder, arguments[0], scalar, lanes)
        total = builder.fadd(builder.load(pointer, align=alignment), total, flags=_FASTMATH)
        builder.store(total, pointer, align=alignment)
        return context.get_dummy_value()

    return numba.void(target, weights, sources, lanes), generate


@_intrinsic
def _dot(_, zero, first, second, lanes):
    """Inner product of two rows given by address, in the type of ``zero``."""

    def generate(_, builder, signature, arguments):
        start, *rows = arguments[:3]
        left, right = (_load(builder, row, signature.return_type, lanes) for row in rows)
        product = builder.fmul(left, right, flags=_FASTMATH)
        name = f"llvm.vector.reduce.fadd.v{lanes.count}f{signature.return_type.bitwidth}"
        function_type = ir.FunctionType(start.type, (start.type, product.type))
        function = builder.module.declare_intrinsic(name, (), function_type)
        return builder.call(function, (start, product), fastmath=_FASTMATH)

    return zero(zero, first, second, lanes), generate


@_compile
def _locate_axis(position, size, lower, upper, has_lower, has_upper, lower_weight, upper_weight, count):
    zero, one = position.dtype.type(0), position.dtype.type(1)
    for n in range(count):
        here, end = position[n], size[n]
        inside = not ((here < -one) | (here >= end))
        clamped = here if here > -one else -one  # NaN becomes -1
        clamped = clamped if clamped < end else end
        floor = np.floor(clamped)
        fraction = here - floor if inside else zero
        has_lower[n] = one if inside & (floor >= zero) else zero
        has_upper[n] = one if inside & (floor < end - one) else zero
        lower_weight[n] = has_lower[n] * (one - fraction)
        upper_weight[n] = has_upper[n] * fraction
        index = np.int32(floor)
        last = np.int32(np.int32(end) - np.int32(1))
        lower[n] = max(min(index, last), np.int32(0))
        upper[n] = min(np.int32(index + np.int32(1)), last)


@_compile
def _combine_axes(points, pixels, start, width, count):
    """From rows and columns to pixels and their weights, for the four corners of every point."""
    for n in range(count):
        left, right = pixels[0, n], pixels[1, n]
        top, bottom = start[n] + pixels[2, n] * width[n], start[n] + pixels[3, n] * width[n]
        pixels[0, n], pixels[1, n], pixels[2, n], pixels[3, n] = top + left, top + right, bottom + left, bottom + right
        upper, lower = points[_TOP, n] * points[_ATTENTION, n], points[_BOTTOM, n] * points[_ATTENTION, n]
        points[_CORNER, n], points[_CORNER + 1, n] = points[_LEFT, n] * upper, points[_RIGHT, n] * upper
        points[_CORNER + 2, n], points[_CORNER + 3, n] = points[_LEFT, n] * lower, points[_RIGHT, n] * lower


@_compile
def _positions(reference, offsets, sizes, first, points):
    """Fill position and step of one query's K points from column ``first`` on."""
    half = points.dtype.type(0.5)
    num_points = offsets.shape[0] // sizes.shape[0]
    for level in range(sizes.shape[0]):
        for axis in range(2):
            size = points.dtype.type(sizes[level, 1 - axis])
            origin, step = reference[level, axis] * size - half, points.dtype.type(1)
            if reference.shape[1] == 4:
                step = reference[level, 2 + axis] * size * half / points.dtype.type(num_points)
            for k in range(level * num_points, (level + 1) * num_points):
                points[_X + axis, first + k] = origin + step * offsets[k, axis]
                points[_STEP_X + axis, first + k] = step


@_compile
def _level_tables(sizes, num_points, dtype):
    """Width and height, width, and first pixel of the level of every point of a block of queries."""
    extent = np.empty((2, QUERY_BLOCK * sizes.shape[0] * num_points), dtype)
    width = np.empty(extent.shape[1], np.int32)
    start = np.empty(extent.shape[1], np.int32)
    for n in range(extent.shape[1]):
        level = n // num_points % sizes.shape[0]
        extent[0, n] = sizes[level, 1]
        extent[1, n] = sizes[level, 0]
        width[n] = sizes[level, 1]
        start[n] = 0
        for before in range(level):
            start[n] += sizes[before, 0] * sizes[before, 1]
    return extent, width, start


@_compile
def _locate(reference, offsets, attention, head, sizes, tables, points, pixels):
    """Fill the tables up to the corners' weights for n queries, at most a block, of one head."""
    extent, width, start = tables
    num_points = offsets.shape[2]
    count = reference.shape[0] * num_points
    for query in range(reference.shape[0]):
        first = query * num_points
        _positions(reference[query], offsets[query, head], sizes, first, points)
        for k in range(num_points):
            points[_ATTENTION, first + k] = attention[query, head, k]
    _locate_axis(
        points[_X], extent[0], pixels[0], pixels[1],
        points[_HAS_LEFT], points[_HAS_RIGHT], points[_LEFT], points[_RIGHT], count,
    )  # fmt: skip
    _locate_axis(
        points[_Y], extent[1], pixels[2], pixels[3],
        points[_HAS_TOP], points[_HAS_BOTTOM], points[_TOP], points[_BOTTOM], count,
    )  # fmt: skip
    _combine_axes(points, pixels, start, width, count)


@_compile
def forward(value, sizes, reference, offsets, attention, output, lanes, plane, first, last):
    """Write ``output[b, first:last, h]`` for ``plane = b * H + h``.

    ``value`` is ``[B, S, H, D]`` or ``[B*H, S, 1, D]``; ``lanes`` is any tuple of length D.
    """
    num_heads, num_points, num_levels = offsets.shape[2], offsets.shape[3], sizes.shape[0]
    image, head = plane // num_heads, plane % num_heads
    rows = value[plane // value.shape[2], :, plane % value.shape[2]]
    base, stride = np.uintp(rows.ctypes.data), np.uintp(rows.strides[0])
    tables = _level_tables(sizes, num_points // num_levels, value.dtype)
    points = np.empty((_NUM_ROWS, QUERY_BLOCK * num_points), value.dtype)
    pixels = np.empty((4, QUERY_BLOCK * num_points), np.int32)
    for block in range(first, last, QUERY_BLOCK):
        end = min(block + QUERY_BLOCK, last)
        inputs = reference[image, block:end], offsets[image, block:end], attention[image, block:end]
        _locate(*inputs, head, sizes, tables, points, pixels)
        for query in range(block, end):
            total = output[image, query, head]
            total[:] = 0
            target = np.uintp(total.ctypes.data)
            for n in range((query - block) * num_points, (query - block + 1) * num_points):
                w0, w1 = points[_CORNER, n], points[_CORNER + 1, n]
                w2, w3 = points[_CORNER + 2, n], points[_CORNER + 3, n]
                if w0 + w1 + w2 + w3 != 0:
                    p0 = base + stride * np.uintp(pixels[0, n])
                    p1 = base + stride * np.uintp(pixels[1, n])
                    p2 = base + stride * np.uintp(pixels[2, n])
                    p3 = base + stride * np.uintp(pixels[3, n])
                    _add_scaled(target, (w0, w1, w2, w3), (p0, p1, p2, p3), lanes)


@_compile
def _differentiate(points, count):
    """From the corners' inner products to the gradients of attention and position."""
    for n in range(count):  # from 0: an index that could be negative would be checked, one by one
        left, right, top, bottom = points[_LEFT, n], points[_RIGHT, n], points[_TOP, n], points[_BOTTOM, n]
        has_left, has_right = points[_HAS_LEFT, n], points[_HAS_RIGHT, n]
        d0, d1, d2, d3 = points[_DOT, n], points[_DOT + 1, n], points[_DOT + 2, n], points[_DOT + 3, n]
        upper, lower = left * d0 + right * d1, left * d2 + right * d3
        across = top * (has_right * d1 - has_left * d0) + bottom * (has_right * d3 - has_left * d2)
        points[_GRAD_ATTENTION, n] = top * upper + bottom * lower
        points[_GRAD_X, n] = points[_ATTENTION, n] * across
        points[_GRAD_Y, n] = points[_ATTENTION, n] * (points[_HAS_BOTTOM, n] * lower - points[_HAS_TOP, n] * upper)


@_compile
def _add_reference(grad_reference, points, first, offsets, sizes):
    """Add to ``grad_reference [L, 2 or 4]`` of one query and head."""
    num_points = offsets.shape[0] // sizes.shape[0]
    for k in range(offsets.shape[0]):
        level = k // num_points
        for axis in range(2):
            gradient = points[_GRAD_X + axis, first + k] * sizes[level, 1 - axis]
            grad_reference[level, axis] += gradient
            if grad_reference.shape[1] == 4:
                grad_reference[level, 2 + axis] += gradient * offsets[k, axis] / (2 * num_points)


@_compile
def backward(
    value, sizes, reference, offsets, attention, grad_output,
    grad_maps, grad_reference, grad_offsets, grad_logits, lanes, plane, first, last,
):  # fmt: skip
    """Write all gradients of queries ``first:last`` for ``plane = b * H + h``; ``value`` and ``lanes`` as in forward.

    ``grad_maps [B*H, S, D]`` and ``grad_reference [B, Q, H, L, 2 or 4]``, one per head, are added to; the latter
    is skipped if it is empty.
    """
    num_heads, num_points, num_levels = offsets.shape[2], offsets.shape[3], sizes.shape[0]
    image, head = plane // num_heads, plane % num_heads
    rows, grad_rows = value[plane // value.shape[2], :, plane % value.shape[2]], grad_maps[plane]
    base, stride = np.uintp(rows.ctypes.data), np.uintp(rows.strides[0])
    grad_base, grad_stride = np.uintp(grad_rows.ctypes.data), np.uintp(grad_rows.strides[0])
    zero = value.dtype.type(0)
    tables = _level_tables(sizes, num_points // num_levels, value.dtype)
    points = np.empty((_NUM_ROWS, QUERY_BLOCK * num_points), value.dtype)
    pixels = np.empty((4, QUERY_BLOCK * num_points), np.int32)
    for block in range(first, last, QUERY_BLOCK):
        end = min(block + QUERY_BLOCK, last)
        inputs = reference[image, block:end], offsets[image, block:end], attention[image, block:end]
        _locate(*inputs, head, sizes, tables, points, pixels)
        for query in range(block, end):
            upstream = np.uintp(grad_output[image, query, head].ctypes.data)
            for n in range((query - block) * num_points, (query - block + 1) * num_points):
                has_column = points[_HAS_LEFT, n] + points[_HAS_RIGHT, n] != 0
                is_inside = has_column and points[_HAS_TOP, n] + points[_HAS_BOTTOM, n] != 0
                for corner in range(4):
                    pixel = np.uintp(pixels[corner, n])
                    row = base + stride * pixel
                    points[_DOT + corner, n] = _dot(zero, upstream, row, lanes) if is_inside else zero
                    if points[_CORNER + corner, n] != 0:
                        grad_row = grad_base + grad_stride * pixel
                        _add_scaled(grad_row, (points[_CORNER + corner, n],), (upstream,), lanes)
        _differentiate(points, (end - block) * num_points)
        for query in range(block, end):
            start, mean = (query - block) * num_points, zero
            for n in range(start, start + num_points):
                mean += points[_ATTENTION, n] * points[_GRAD_ATTENTION, n]
            for k in range(num_points):
                n = start + k
                grad_offsets[image, query, head, k, 0] = points[_GRAD_X, n] * points[_STEP_X, n]
                grad_offsets[image, query, head, k, 1] = points[_GRAD_Y, n] * points[_STEP_Y, n]
                grad_logits[image, query, head, k] = points[_ATTENTION, n] * (points[_GRAD_ATTENTION, n] - mean)
            if grad_reference.shape[0] > 0:
                _add_reference(grad_reference[image, query, head], points, start, offsets[image, query, head], sizes)
