"""The body of a detector: features in, predictions of every stage out."""

from torch import nn

from deta.ops.random import Draw
from deta.structures import DetectionOutput, Features, Targets


class Body(nn.Module):
    """Base class of what stands behind the neck. A body owns its heads; only it knows what its stages are.

    A detector makes it with ``num_classes`` and ``channels``, those of every level of its neck.

    Attributes:
        roles: Of all stages that it has in training, for each of which a criterion has a rule; None where only an
            output tells.
        placed: Those whose candidates have a level and a stride; None where only an output tells.
        detects_on_grid: Whether what detects is the cells of a grid (``Prediction.grid``); None where only an output
            tells.
    """

    roles: tuple[str, ...] | None = None
    placed: tuple[str, ...] | None = None
    detects_on_grid: bool | None = None

    def forward(self, features: Features, targets: Targets | None = None, draw: Draw | None = None) -> DetectionOutput:
        """Detect objects.

        Args:
            features: Of a batch.
            targets: The objects, for what is trained on them and does not detect; None leaves that out.
            draw: Randomness of that; None leaves it out.

        Returns:
            Predictions of every stage, float32. Boxes are relative to the unpadded image where ``Prediction.frame`` is
            given, else in pixels.
        """
        raise NotImplementedError
