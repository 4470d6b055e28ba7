"""Multi-scale deformable attention in plain PyTorch: the specification, short and slow.

Source: arXiv:2010.04159 (Deformable DETR), eq. 3. For query q, head h, level l and point p

    output[b, q, h] = sum_lp softmax_lp(logits[b, q, h])[l, p] * bilinear(value_l[b, :, h], location_lp[b, q, h])
    location_lp     = reference_l + offset_lp / (width_l, height_l)                (points, last size 2)
    location_lp     = reference_xy_l + offset_lp / P * 0.5 * reference_wh_l        (boxes, last size 4)

with bilinear sampling that is zero outside the map and places pixel centres at (i + 0.5) / size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def sampling_locations(spatial_shapes: Sequence[tuple[int, int]], reference: Tensor, offsets: Tensor) -> Tensor:
    """Where every query samples, ``[B, Q, H, L, P, 2]`` as ``(x, y)`` in units of the level's size."""
    num_points = offsets.shape[4]
    reference = reference[:, :, None, :, None, :]  # [B, Q, 1, L, 1, 2 or 4]
    if reference.shape[-1] == 2:
        sizes = torch.tensor([(w, h) for h, w in spatial_shapes], dtype=reference.dtype, device=reference.device)
        return reference + offsets / sizes[:, None, :].clamp(min=1)  # an empty level samples nothing
    return reference[..., :2] + offsets / num_points * reference[..., 2:] * 0.5


def sample_and_sum(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of bilinear samples, ``[B, Q, H, D]``.

    Args:
        value: ``[B, S, H, D]``.
        spatial_shapes: ``(height, width)`` of every level, whose areas sum to S.
        locations: ``[B, Q, H, L, P, 2]`` as ``(x, y)`` in units of the level's size.
        weights: ``[B, Q, H, L, P]``.
    """
    num_images, _, num_heads, channels = value.shape
    num_queries = locations.shape[1]
    grids = 2 * locations.permute(0, 2, 1, 3, 4, 5).flatten(0, 1) - 1  # [B*H, Q, L, P, 2]
    weights = weights.permute(0, 2, 1, 3, 4).flatten(0, 1)  # [B*H, Q, L, P]
    output = value.new_zeros(num_images * num_heads, channels, num_queries)
    start = 0
    for level, (height, width) in enumerate(spatial_shapes):
        if height * width == 0:
            continue
        pixels = value[:, start : start + height * width]  # [B, h*w, H, D]
        maps = pixels.permute(0, 2, 3, 1).reshape(num_images * num_heads, channels, height, width)
        samples = grid_sample(
            maps, grids[:, :, level], mode="bilinear", padding_mode="zeros", align_corners=False
        )  # [B*H, D, Q, P]
        output = output + (samples * weights[:, None, :, level]).sum(-1)
        start += height * width
    return output.view(num_images, num_heads, channels, num_queries).permute(0, 3, 1, 2)


def deformable_attention_reference(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """The operator of ``deta_kernels.deformable_attention``, without its checks.

    Half-precision inputs are computed in float32: a location in bfloat16 can be off by more than half a pixel.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    value_, reference, offsets, logits = (x.to(dtype) for x in (value, reference, offsets, logits))
    num_images, num_queries, num_heads, num_levels, num_points, _ = offsets.shape
    weights = logits.softmax(-1).view(num_images, num_queries, num_heads, num_levels, num_points)
    locations = sampling_locations(spatial_shapes, reference, offsets)
    return sample_and_sum(value_, spatial_shapes, locations, weights).to(value.dtype)
