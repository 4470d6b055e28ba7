"""The harness of whole systems finds what is wrong with a detector, its criterion or its post-processing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deta.assign import Draw, IoUAssigner
from deta.losses import Criterion
from deta.models.postprocess import Postprocess, TopK
from deta.structures import DetectionOutput, Detections, Losses, Prediction, Targets
from deta.testing import check_system
from tests.losses.criteria import QueryCriterion
from tests.models.tiny import tiny_detector

COMPILED = "a_compiled_step_is_one_graph_and_gives_the_same"
Built = tuple[nn.Module, Criterion, Postprocess]


class Wrapper(nn.Module):
    """A detector that is right but for what ``change`` does."""

    def __init__(self, change: Callable[..., Any], num_classes: int) -> None:
        super().__init__()
        self.inner = tiny_detector(num_classes=num_classes)
        self.change = change

    def forward(self, *inputs: Any) -> DetectionOutput:  # noqa: ANN401 - passed on
        output: DetectionOutput = self.change(self.inner, *inputs)
        return output


class Criterial(QueryCriterion):
    """A criterion that is right but for what ``change`` does to its losses."""

    def __init__(self, change: Callable[[Losses, Targets], Losses] | None = None) -> None:
        super().__init__(layer_assigner=IoUAssigner(), proposal_assigner=IoUAssigner(gamma=None))
        self.change = change

    def __call__(self, output: DetectionOutput, targets: Targets, draw: Draw) -> Losses:
        losses = super().__call__(output, targets, draw)
        return losses if self.change is None else self.change(losses, targets)


def _final_changed(output: DetectionOutput, change: Callable[[Tensor], Tensor]) -> DetectionOutput:
    final = replace(output.final, logits=change(output.final.logits))
    return replace(output, stages={**output.stages, output.last: final})


def sees_padding(inner: nn.Module, images: Tensor, *rest: Any) -> DetectionOutput:  # noqa: ANN401
    return _final_changed(inner(images, *rest), lambda logits: logits + images.float().mean() / 255)


def knows_the_objects(
    inner: nn.Module, images: Tensor, is_padding: Tensor, targets: Targets | None = None, *rest: Draw
) -> DetectionOutput:
    output: DetectionOutput = inner(images, is_padding, targets, *rest)
    return output if targets is None else _final_changed(output, lambda logits: logits + 1)


def mixes_images(inner: nn.Module, *inputs: Any) -> DetectionOutput:  # noqa: ANN401
    return _final_changed(inner(*inputs), lambda logits: logits - logits.mean(0, keepdim=True))


def is_random_in_evaluation(inner: nn.Module, *inputs: Any) -> DetectionOutput:  # noqa: ANN401
    noise = 0 if inner.training else 1
    return _final_changed(inner(*inputs), lambda logits: logits + noise * torch.rand_like(logits))


def is_half_precise(inner: nn.Module, *inputs: Any) -> DetectionOutput:  # noqa: ANN401
    is_mixed = torch.is_autocast_enabled("cpu")
    return _final_changed(inner(*inputs), lambda logits: logits.bfloat16() if is_mixed else logits)


def leaves_a_stage_untrained(inner: nn.Module, *inputs: Any) -> DetectionOutput:  # noqa: ANN401
    output: DetectionOutput = inner(*inputs)
    return replace(output, stages={**output.stages, output.last: output.final.detach()})


def divides_by_objects(losses: Losses, targets: Targets) -> Losses:
    return replace(losses, floors=torch.zeros_like(losses.floors))


def grows_with_padding(losses: Losses, targets: Targets) -> Losses:
    return replace(losses, sums=losses.sums * targets.labels.shape[1])


def scores_ascend(prediction: Prediction, original_sizes: Tensor) -> Detections:
    return TopK()(prediction, original_sizes).map(lambda tensor: tensor.flip(1))


def labels_are_numbers_of_a_file(prediction: Prediction, original_sizes: Tensor) -> Detections:
    found = TopK()(prediction, original_sizes)
    return replace(found, labels=found.labels + 1)


DETECTORS: dict[Callable[..., DetectionOutput], str] = {
    sees_padding: "padding does not matter.*other pixels under padding",
    knows_the_objects: "what detects does not know the objects",
    mixes_images: "detections are those of every image alone",
    is_random_in_evaluation: "the same draw gives the same step",
    is_half_precise: "a step in mixed precision has a float32 loss",
    leaves_a_stage_untrained: "the loss trains every parameter.*no gradient reaches",
}
CRITERIA: dict[Callable[[Losses, Targets], Losses], str] = {
    divides_by_objects: "'predictions and detections have their form' with 'no object in any image': a loss is not",
    grows_with_padding: "padding does not matter.*other objects in padding",
}
POSTPROCESSES: dict[Postprocess, str] = {
    scores_ascend: "scores do not descend",
    labels_are_numbers_of_a_file: "a label is no class",
}


@pytest.mark.parametrize("fault", [*DETECTORS, *CRITERIA, *POSTPROCESSES], ids=lambda fault: fault.__name__)
def test_a_wrong_part_of_a_system_is_found_by_the_property_that_it_lacks(fault: Callable[..., Any]) -> None:
    def build(num_classes: int) -> Built:
        detector: nn.Module = (
            Wrapper(fault, num_classes) if fault in DETECTORS else tiny_detector(num_classes=num_classes)
        )
        criterion = Criterial(fault if fault in CRITERIA else None)
        return detector, criterion, fault if fault in POSTPROCESSES else TopK()

    messages: dict[Any, str] = {**DETECTORS, **CRITERIA, **POSTPROCESSES}
    with pytest.raises(AssertionError, match=f"(?s)build fails .*{messages[fault]}"):
        check_system(build, without=[COMPILED])


def test_a_system_that_has_always_as_many_classes_is_found() -> None:
    def build(num_classes: int) -> Built:
        return tiny_detector(num_classes=6), Criterial(), TopK()

    with pytest.raises(AssertionError, match="with 'one class': a label is no class"):
        check_system(build, without=[COMPILED])


@pytest.mark.slow
def test_a_system_whose_step_is_not_one_graph_is_found() -> None:
    def asks_the_device(inner: nn.Module, *inputs: Any) -> DetectionOutput:  # noqa: ANN401
        output: DetectionOutput = inner(*inputs)
        return output if output.final.logits.max().item() > -1e9 else output.detach()

    def build(num_classes: int) -> Built:
        return Wrapper(asks_the_device, num_classes), Criterial(), TopK()

    with pytest.raises(AssertionError, match="a compiled step is one graph and gives the same"):
        check_system(build)
