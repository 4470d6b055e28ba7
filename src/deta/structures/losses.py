"""What the criterion returns for a batch."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from deta.structures.matches import Matches


@dataclass(frozen=True)
class Losses:
    """Losses of a batch and the assignments behind them.

    Attributes:
        total: Weighted sum of ``terms``, the scalar to minimise.
        terms: Scalars before weighting, by name: ``layer3/giou``, ``proposals/class``.
        matches: Assignment of every stage, by name: ``layer3``, ``proposals``.
    """

    total: Tensor
    terms: Mapping[str, Tensor]
    matches: Mapping[str, Matches]
