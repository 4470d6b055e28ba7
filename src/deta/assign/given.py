"""The rule of candidates that were made for an object, such as denoising queries."""

from deta.ops.random import Draw
from deta.structures import Matches, Prediction, Targets


class GivenAssigner:
    """Every candidate answers for the object that it was made for. Source: arXiv:2203.01305, sec. 4."""

    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """``Prediction.given`` as it is.

        Raises:
            ValueError: The prediction says of no candidate what it was made for.
        """
        del targets, draw
        if prediction.given is None:
            raise ValueError(
                "the rule of given objects needs queries that are made from objects, such as those of denoising"
            )
        return Matches(prediction.given)
