"""What operators without an entry in PyTorch's exporter are in ONNX.

Each function takes what the operator takes and is called once, while the file is made.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from onnx import TensorProto
from onnxscript import opset20

from deta.ops.nms import LARGEST

OPSET = 20
op: Any = opset20
Value = Any
"""A value of the graph that is made; onnxscript has no types for it."""


def sort_stable(
    self: Value, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Value, Value]:
    """``aten::sort.stable``: of equal values ONNX, too, takes the earlier first."""
    del stable
    values = self if self.dtype.is_floating_point() else op.Cast(self, to=TensorProto.INT32)
    count = op.Reshape(op.Gather(op.Shape(self), dim), [1])
    best, order = op.TopK(values, count, axis=dim, largest=int(descending), sorted=1)
    return op.CastLike(best, self), order


def log_sigmoid(self: Value) -> Value:
    """``aten::log_sigmoid``; the exporter's own takes the logarithm of a sigmoid, 0 in ONNX Runtime below -18."""
    return op.Neg(op.Softplus(op.Neg(self)))


def log_sigmoid_forward(self: Value) -> tuple[Value, Value]:
    """``aten::log_sigmoid_forward``: also what its backward pass would take, which no file has."""
    value = log_sigmoid(self)
    return value, value


def view_dtype(self: Value, dtype: int) -> Value:
    """``aten::view.dtype`` between flags and their bytes, the one pair that detectors use.

    Raises:
        ValueError: It is another one, of which ONNX would change the values.
    """
    bytes_and_flags = {TensorProto.BOOL, TensorProto.UINT8}
    if {int(self.dtype), int(dtype)} != bytes_and_flags:
        raise ValueError(f"ONNX has no view of {self.dtype} as type {dtype}")
    return op.Cast(self, to=dtype)


def grouped_nms(boxes_xyxy: Value, scores: Value, groups: Value, iou_threshold: float, is_candidate: Value) -> Value:
    """``deta.ops.nms.grouped_nms``: groups are the classes of NonMaxSuppression, ranks its scores.

    Ranks tell equal scores apart by their place. Overlaps are compared in float32, where ours are float64.
    """
    is_small = op.Cast(op.LessOrEqual(op.Abs(boxes_xyxy), LARGEST), to=TensorProto.INT32)
    is_sane = op.Cast(op.ReduceMin(is_small, [2], keepdims=0), to=TensorProto.BOOL)  # [B, N]
    takes_part = op.And(op.And(is_candidate, is_sane), op.Not(op.IsNaN(scores)))
    boxes = op.Where(op.Unsqueeze(takes_part, [2]), boxes_xyxy, 0.0)  # [B, N, 4]
    count = op.Shape(scores, start=1, end=2)  # [1]
    _, order = op.TopK(op.Where(takes_part, scores, float("-inf")), count, axis=1, largest=1, sorted=1)  # [B, N]
    falling = op.Range(op.Squeeze(op.Cast(count, to=TensorProto.FLOAT)), 0.0, -1.0)  # [N]: N, ..., 1
    zeros = op.Expand(0.0, op.Shape(scores))
    ranks = op.ScatterElements(zeros, order, op.Add(zeros, falling), axis=1)  # [B, N]
    numbers = op.Range(0, op.Add(op.ReduceMax(groups, keepdims=0), 1), 1)  # [G]
    is_of_group = op.Equal(op.Unsqueeze(groups, [1]), op.Unsqueeze(numbers, [0, 2]))  # [B, G, N]
    of_groups = op.Where(op.And(is_of_group, op.Unsqueeze(takes_part, [1])), op.Unsqueeze(ranks, [1]), 0.0)
    kept = op.NonMaxSuppression(boxes, of_groups, count, [iou_threshold], [0.5])  # [K, 3] of image, group, box
    places = op.Gather(kept, [0, 2], axis=1)  # [K, 2]
    ones = op.Expand(1.0, op.Shape(kept, start=0, end=1))  # [K]
    keep = op.Cast(op.ScatterND(zeros, places, ones), to=TensorProto.BOOL)
    return op.Or(op.And(takes_part, keep), op.And(op.Not(takes_part), is_candidate))


def roi_align(
    input: Value,  # noqa: A002 - the name of the operator's argument
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Value:
    """``torchvision::roi_align``."""
    image = op.Cast(op.Squeeze(op.Gather(rois, [0], axis=1), [1]), to=TensorProto.INT64)  # [R]
    return op.RoiAlign(
        input,
        op.Gather(rois, [1, 2, 3, 4], axis=1),
        image,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        output_height=pooled_height,
        output_width=pooled_width,
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )


def deform_conv2d(  # the operator has no fewer arguments
    input: Value,  # noqa: A002 - the name of the operator's argument
    weight: Value,
    offset: Value,
    mask: Value,
    bias: Value,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Value:
    """``torchvision::deform_conv2d``, whose layout is that of ONNX."""
    return op.DeformConv(
        input,
        weight,
        offset,
        bias,
        mask if use_mask else None,
        dilations=[dilation_h, dilation_w],
        group=groups,
        offset_group=offset_groups,
        pads=[pad_h, pad_w, pad_h, pad_w],
        strides=[stride_h, stride_w],
    )


def translations() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """By operator, for ``torch.onnx.export``."""
    return {
        torch.ops.aten.sort.stable: sort_stable,
        torch.ops.aten.view.dtype: view_dtype,
        torch.ops.aten.log_sigmoid.default: log_sigmoid,
        torch.ops.aten.log_sigmoid_forward.default: log_sigmoid_forward,
        torch.ops.deta.grouped_nms.default: grouped_nms,
        torch.ops.torchvision.roi_align.default: roi_align,
        torch.ops.torchvision.deform_conv2d.default: deform_conv2d,
    }
