"""Multi-scale deformable attention with one signature and several backends."""

from collections.abc import Sequence

from torch import Tensor

from deta_kernels.reference import deformable_attention_reference, sample_and_sum, sampling_locations

__all__ = ["deformable_attention", "sample_and_sum", "sampling_locations"]


def deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """Multi-scale deformable attention (arXiv:2010.04159, eq. 3), softmax and sampling locations included.

    Args:
        value: ``[B, S, H, D]`` projected feature maps, levels concatenated, row-major inside a level.
        spatial_shapes: ``(height, width)`` of every level, finest first; their areas sum to S.
        reference: ``[B, Q, L, 2]`` points ``(x, y)`` or ``[B, Q, L, 4]`` boxes ``cxcywh``, in 0..1 of the
            padded map.
        offsets: ``[B, Q, H, L, P, 2]`` in pixels of the level for points, in units of ``wh / (2 P)`` for boxes.
        logits: ``[B, Q, H, L*P]`` attention before the softmax over levels and points together.

    Returns:
        ``[B, Q, H, D]`` in the dtype of ``value``.
    """
    return deformable_attention_reference(value, spatial_shapes, reference, offsets, logits)
