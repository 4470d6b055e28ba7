"""One step as a function of a batch and a draw, without any other state: this is what is compiled."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from deta.losses import Criterion
from deta.ops.random import Draw
from deta.structures import Batch, DetectionOutput, Detections, Losses, TensorStruct


@dataclass(frozen=True)
class StepResult(TensorStruct):
    """What came out of a step.

    Attributes:
        output: Predictions of every stage.
        losses: None where there is no criterion.
        detections: Final boxes, in a validation alone.
    """

    output: DetectionOutput
    losses: Losses | None
    detections: Detections | None = None


Step = Callable[[nn.Module, Criterion | None, Batch, Draw], StepResult]


def step(detector: nn.Module, criterion: Criterion | None, batch: Batch, draw: Draw) -> StepResult:
    """Predictions of a batch and, with a criterion, their losses by the divisors of this rank."""
    output: DetectionOutput = detector(batch.images, batch.is_padding, batch.targets, draw.within("model"))
    return StepResult(output, None if criterion is None else criterion(output, batch.targets, draw))
