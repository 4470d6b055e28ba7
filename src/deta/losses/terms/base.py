"""What a loss term is."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from deta.structures import Matches, Prediction, Targets


@dataclass(frozen=True)
class Sum:
    """A loss as a sum that is not yet divided, for every image.

    Attributes:
        value: ``[B]`` float32 with gradient. A factor of an image or of a rank alone belongs in here.
        divisor: ``[B]`` float32 share of every image in the divisor; None takes the ``normalizer`` of the rule.
        floor: The divisor of all images counts as at least this.
        is_global: Whether the divisor is the mean over all ranks, else that of the rank's own images.
    """

    value: Tensor
    divisor: Tensor | None = None
    floor: float = 1.0
    is_global: bool = True


class Term(Protocol):
    """One loss of a stage. Terms from other packages implement this.

    Attributes:
        weight: Factor of this term in the loss, at least 0.
    """

    weight: float

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """Measure a stage.

        Args:
            prediction: B images; several stages with one rule come as one larger batch.
            matches: Their assignment; ``IGNORED`` candidates count nothing.
            targets: The objects. Where they are ``federated``, a term of classes leaves out what was not looked for
                (``counted_scores``), or refuses them.
        """
        ...
