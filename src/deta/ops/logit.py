"""The inverse of the sigmoid, finite at 0 and 1."""

from torch import Tensor


def inverse_sigmoid(probability: Tensor, eps: float = 1e-5) -> Tensor:
    """Logit of ``probability``, with both ``probability`` and its complement limited to at least ``eps``.

    Args:
        probability: Any shape; values outside 0..1 count as 0 or 1.
        eps: The release's value; a box coordinate of 0 or 1 becomes about -11.5 or 11.5.

    Returns:
        Logits of the same shape.
    """
    # Both sides are limited by themselves: 1 - eps is no limit where a type cannot tell it from 1.
    return (probability.clamp(eps, 1.0) / (1 - probability).clamp(eps, 1.0)).log()
