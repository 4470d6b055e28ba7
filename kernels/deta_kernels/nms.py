# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Greedy suppression of overlapping boxes on CUDA, for a batch and without the host.

Two Triton kernels. The first compares all pairs: overlaps[b, i] is a row of bits, packed in words of 32, that tells
which later boxes j > i overlap box i too much. The second walks through the boxes of an image, 32 at a time: of a word,
the boxes that no earlier kept box has removed are found one after the other in registers, and the rows of those that
are kept are added to the removed ones. The result is a mask of fixed shape; nothing is read back from the device.

Letters: B images, N boxes, best first, W words of 32 boxes. Boxes are float64, compared as ``torchvision.ops.nms`` does
on a CPU: intersection / (area + other area - intersection) > threshold.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_ROWS, _BLOCK_WORDS = 32, 128


@triton.jit
def _either(first, second):
    return first | second


@triton.jit
def overlap_kernel(boxes_ptr, threshold_ptr, overlaps_ptr, num_boxes, num_words, BLOCK_ROWS: tl.constexpr):
    """Write ``overlaps [B, 32 W, W]`` int32; the grid is (blocks of rows, words, images)."""
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    word, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    bit = tl.arange(0, 32)
    other = word * 32 + bit
    of_row = boxes_ptr + 4 * (image * num_boxes + row)
    of_other = boxes_ptr + 4 * (image * num_boxes + other)
    left, other_left = tl.load(of_row, row < num_boxes, 0.0), tl.load(of_other, other < num_boxes, 0.0)
    top, other_top = tl.load(of_row + 1, row < num_boxes, 0.0), tl.load(of_other + 1, other < num_boxes, 0.0)
    right, other_right = tl.load(of_row + 2, row < num_boxes, 0.0), tl.load(of_other + 2, other < num_boxes, 0.0)
    bottom, other_bottom = tl.load(of_row + 3, row < num_boxes, 0.0), tl.load(of_other + 3, other < num_boxes, 0.0)
    width = tl.minimum(right[:, None], other_right[None, :]) - tl.maximum(left[:, None], other_left[None, :])
    height = tl.minimum(bottom[:, None], other_bottom[None, :]) - tl.maximum(top[:, None], other_top[None, :])
    shared = tl.maximum(width, 0.0) * tl.maximum(height, 0.0)
    area, other_area = (right - left) * (bottom - top), (other_right - other_left) * (other_bottom - other_top)
    iou = shared / (area[:, None] + other_area[None, :] - shared)  # of two boxes without area NaN, which is not above
    is_later = (row[:, None] < other[None, :]) & (other < num_boxes)[None, :]
    bits = tl.where(is_later & (iou > tl.load(threshold_ptr)), (1 << bit)[None, :], 0)
    place = overlaps_ptr + (image * num_words * 32 + row) * num_words + word
    tl.store(place, tl.reduce(bits, 1, _either), mask=row < num_words * 32)


@triton.jit
def survive_kernel(overlaps_ptr, removed_ptr, survives_ptr, num_boxes, num_words, BLOCK_WORDS: tl.constexpr):
    """Write ``survives [B, N]``; the grid is (images). ``removed [B, W]`` int32 starts as 0."""
    image = tl.program_id(0).to(tl.int64)
    rows = overlaps_ptr + image * num_words * 32 * num_words
    removed_ptr += image * num_words
    bit = tl.arange(0, 32)
    for word in range(num_words):
        tl.debug_barrier()  # other threads have written what is read here
        gone = tl.load(removed_ptr + word)
        for index in tl.static_range(32):
            removes = tl.load(rows + index * num_words + word)
            gone = gone | tl.where((gone >> index) & 1 == 0, removes, 0)
        is_kept = (gone >> bit) & 1 == 0
        box = word * 32 + bit
        tl.store(survives_ptr + image * num_boxes + box, is_kept, mask=box < num_boxes)
        for first in range(word // BLOCK_WORDS * BLOCK_WORDS, num_words, BLOCK_WORDS):
            words = first + tl.arange(0, BLOCK_WORDS)
            is_later = (words > word) & (words < num_words)
            place = rows + bit[:, None] * num_words + words[None, :]
            overlaps = tl.load(place, mask=is_kept[:, None] & is_later[None, :], other=0)
            before = tl.load(removed_ptr + words, mask=is_later, other=0)
            tl.store(removed_ptr + words, before | tl.reduce(overlaps, 0, _either), mask=is_later)
        rows += 32 * num_words


def survivors(boxes_xyxy: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes no better box that survives overlaps by more than ``iou_threshold``.

    Args:
        boxes_xyxy: ``[B, N, 4]`` float64 corners, best first in every image.
        iou_threshold: 0..1.

    Returns:
        ``[B, N]`` bool.
    """
    num_images, num_boxes, _ = boxes_xyxy.shape
    num_words = triton.cdiv(num_boxes, 32)
    survives = torch.empty(num_images, num_boxes, dtype=torch.bool, device=boxes_xyxy.device)
    if survives.numel() == 0:
        return survives
    threshold = boxes_xyxy.new_full((1,), iou_threshold)  # a number would be passed as float32
    overlaps = torch.empty(num_images, num_words * 32, num_words, dtype=torch.int32, device=boxes_xyxy.device)
    removed = torch.zeros(num_images, num_words, dtype=torch.int32, device=boxes_xyxy.device)
    grid = (triton.cdiv(num_words * 32, _BLOCK_ROWS), num_words, num_images)
    overlap_kernel[grid](
        boxes_xyxy.contiguous(),
        threshold,
        overlaps,
        num_boxes,
        num_words,
        BLOCK_ROWS=_BLOCK_ROWS,
        enable_fp_fusion=False,  # it would round differently than a CPU
    )
    survive_kernel[(num_images,)](overlaps, removed, survives, num_boxes, num_words, BLOCK_WORDS=_BLOCK_WORDS)
    return survives
