"""Rows of a batch of tables, picked by index."""

from torch import Tensor


def take_rows(values: Tensor, index: Tensor) -> Tensor:
    """``values[b, index[b, n]]`` for every image of a batch.

    Args:
        values: ``[B, T]`` or ``[B, T, D]``.
        index: ``[B, N]`` int64; a negative index reads row 0.

    Returns:
        ``[B, N]`` or ``[B, N, D]``; zeros where there are no rows (T = 0).
    """
    if values.shape[1] == 0:
        return values.new_zeros(*index.shape, *values.shape[2:])
    index = index.clamp(min=0)
    if values.dim() == 2:
        return values.gather(1, index)
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))  # [B, N, D]
