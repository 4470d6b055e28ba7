"""A step is a function of batch and draw, and one graph."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager
from torch.fx import GraphModule

from deta.assign import Assigner, Draw, HungarianAssigner, IoUAssigner, Matches, Prediction, Problem, ReleaseAssigner
from deta.losses import Criterion
from deta.ops import assignment
from deta.structures import Batch, Targets
from deta.training.step import StepResult, step
from tests.assign.scenes import random_scene
from tests.losses.criteria import QueryCriterion
from tests.models.tiny import SMALL, images, tiny_detector

NUM_CLASSES = 8


class Wrapped:
    """A rule from another package: another's answer with every second candidate left out."""

    def __init__(self, inner: Assigner) -> None:
        self.inner = inner

    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches | Problem:
        return self.inner(prediction, targets, draw.within("inner")).then(_every_second)


def _every_second(matches: Matches) -> Matches:
    is_even = torch.arange(matches.target.shape[1], device=matches.target.device) % 2 == 0
    return replace(matches, target=torch.where(is_even, matches.target, -1))


CRITERIA: dict[str, Callable[[], Criterion]] = {
    "iou": lambda: QueryCriterion(layer_assigner=IoUAssigner(), proposal_assigner=IoUAssigner(tau=0.2, gamma=0.05)),
    "release": lambda: QueryCriterion(
        layer_assigner=ReleaseAssigner(), proposal_assigner=ReleaseAssigner(tau=0.3, num_samples=16)
    ),
    "hungarian": lambda: QueryCriterion(
        layer_assigner=HungarianAssigner(), proposal_assigner=HungarianAssigner(), rematch="per_layer"
    ),
    "release and hungarian": lambda: QueryCriterion(
        layer_assigner=HungarianAssigner(),
        proposal_assigner=ReleaseAssigner(tau=0.3, num_samples=16),
        rematch="per_layer",
    ),
    "wrapped": lambda: QueryCriterion(
        layer_assigner=Wrapped(HungarianAssigner()),
        proposal_assigner=Wrapped(IoUAssigner(gamma=None)),
        rematch="per_layer",
    ),
}


def batch(*sizes: int, height: int = 64, width: int = 96) -> Batch:
    """Two pictures with so many objects, padded to a multiple of eight."""
    pixels, is_padding = images(height, width)
    _, targets = random_scene(0, sizes=(*sizes, 8 * -(-max(*sizes, 1) // 8)), num_classes=NUM_CLASSES)
    targets = targets.map(lambda tensor: tensor[:2])
    targets = replace(targets, labels=targets.labels % NUM_CLASSES, most_objects=max(sizes))
    return Batch(pixels, is_padding, targets, torch.arange(2), torch.tensor([[64, 96]] * 2))


def run(
    function: Callable[..., StepResult], detector: nn.Module, criterion: Criterion, *sizes: int, **picture: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """All terms and gradients."""
    detector.zero_grad()
    losses = function(detector, criterion, batch(*sizes, **picture), Draw.of(1, 2, 3)).losses
    assert losses is not None
    losses.total().backward()
    gradients = {name: parameter.grad for name, parameter in detector.named_parameters()}
    return losses.terms().detach(), {name: value.clone() for name, value in gradients.items() if value is not None}


SIZES = [(5, 1), (3, 0), (0, 0), (30, 7), (1, 0)]


def traced(name: str, batches: Sequence[tuple[int, int]]) -> list[int]:
    """How many graphs there are after each batch; every one gives what eager PyTorch gives."""
    torch.compiler.reset()
    detector, criterion = tiny_detector(num_classes=NUM_CLASSES), CRITERIA[name]()
    graphs: list[GraphModule] = []

    def backend(graph: GraphModule, inputs: Any) -> Any:  # noqa: ANN401 - of torch.compile
        graphs.append(graph)
        return aot_eager(graph, inputs)

    compiled = torch.compile(step, fullgraph=True, backend=backend)
    counts = []
    for sizes in batches:
        expected, found = run(step, detector, criterion, *sizes), run(compiled, detector, criterion, *sizes)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-7)
        assert found[1].keys() == expected[1].keys()
        for parameter, gradient in expected[1].items():
            torch.testing.assert_close(found[1][parameter], gradient, rtol=1e-5, atol=1e-7, msg=parameter)
        counts.append(len(graphs))
    torch.compiler.reset()
    return counts


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while tracing
@pytest.mark.slow
@pytest.mark.parametrize("name", CRITERIA)
def test_detector_and_criterion_are_one_graph_that_gives_what_eager_gives(name: str) -> None:
    counts = traced(name, SIZES[:1])
    assert counts[0] == 1  # no break


@pytest.mark.gate
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # as above
def test_one_graph_is_for_no_and_for_some_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SMALL, "num_layers", 1)  # a half of what is to be traced
    assert traced("release and hungarian", [(5, 1), (3, 0), (0, 0)]) == [1, 1, 1]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # as above
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.gate if name == "iou" else pytest.mark.slow) for name in CRITERIA]
)
def test_numbers_of_objects_and_widths_are_learnt_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SMALL, "num_layers", 1)
    counts = traced(name, SIZES)
    assert counts[0] == 1
    assert counts[3:] == [counts[3]] * 2
    assert counts[-1] <= 3


def test_all_assignments_of_least_cost_take_one_call_of_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    solve = assignment._solve

    def counted(costs: Sequence[Tensor], flags: Sequence[Tensor]) -> list[Tensor]:
        calls.append(len(costs))
        solved: list[Tensor] = solve(costs, flags)
        return solved

    monkeypatch.setattr(assignment, "_solve", counted)
    run(step, tiny_detector(num_classes=NUM_CLASSES), CRITERIA["hungarian"](), 4, 2)
    other = QueryCriterion(
        layer_assigner=Wrapped(HungarianAssigner()), proposal_assigner=HungarianAssigner(), rematch="per_layer"
    )
    run(step, tiny_detector(num_classes=NUM_CLASSES), other, 4, 2)
    assert calls == [2, 2]  # the first stage, and all layers as one problem


def test_a_wrapped_rule_changes_the_answer_of_a_cost_rule() -> None:
    result = step(tiny_detector(num_classes=NUM_CLASSES), CRITERIA["wrapped"](), batch(5, 3), Draw.of(0))
    assert result.losses is not None
    for made in result.losses.matches.values():
        assert (made.classes.target[:, 1::2] < 0).all()
        assert (made.classes.target >= 0).any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a compiler that is new
@pytest.mark.parametrize("name", ["iou", "release", "hungarian"])
def test_generated_code_gives_the_losses_and_gradients_of_eager(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one layer of encoder and decoder: code for more takes minutes to make.

    The coarsest map has several pixels: a group norm over one or two would magnify the rounding of what comes before.
    """
    monkeypatch.setitem(SMALL, "num_layers", 1)
    torch.compiler.reset()
    detector, criterion = tiny_detector(num_classes=NUM_CLASSES), CRITERIA[name]()
    functions = (step, torch.compile(step, fullgraph=True))
    expected, found = (run(function, detector, criterion, 5, 1, height=128, width=160) for function in functions)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    assert found[1].keys() == expected[1].keys()
    whole = torch.cat([gradient.flatten() for gradient in expected[1].values()]).norm()
    for parameter, gradient in expected[1].items():
        difference = (found[1][parameter] - gradient).norm()
        # Relative to each parameter; what is zero but for rounding, such as before a norm, to all of them.
        assert difference <= 1e-4 * gradient.norm() + 1e-6 * whole, parameter
    torch.compiler.reset()
