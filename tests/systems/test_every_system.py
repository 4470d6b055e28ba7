"""What every system must do, whatever is in a batch, as it is composed."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager
from torch.fx import GraphModule

from deta.models import DenoisingQueries
from deta.models.query.body import QueryBody
from deta.ops.random import Draw
from deta.structures import FederatedLabels
from deta.testing import check_system
from deta.testing.systems import Task, task
from deta.training.step import StepResult, step
from tests.systems.composed import DENSE, NO_DROPOUT, REGIONS, SYSTEMS, Built, build, words_of
from tests.training.test_step import run

COMPILED = "a_compiled_step_is_one_graph_and_gives_the_same"
HALVES = [pytest.param(torch.float16, marks=pytest.mark.gate), torch.bfloat16]
HARD = (
    task("more objects than queries", counts=(30, 2), room=32),
    pytest.param(task("500 objects in an image", counts=(500, 1), room=504), marks=pytest.mark.gate),
    task("1,203 classes", num_classes=1203),
)
"""What ``check_system`` does not have: no objects, one class and images of 64 pixels stand there."""


def trained(case: Task, built: Built) -> StepResult:
    """A step, back through the detector; loss and gradients are finite."""
    detector, criterion, _ = built
    result = step(detector, criterion, case.batch, Draw.of(0))
    assert result.losses is not None
    total = result.losses.total()
    assert total.dtype == torch.float32
    total.backward()
    gradients = {name: value.grad for name, value in detector.named_parameters() if value.requires_grad}
    assert [name for name, grad in gradients.items() if grad is None or not grad.isfinite().all()] == []
    assert total.isfinite()
    return result


def made(system: str, num_classes: int, *words: str) -> Built:
    torch.manual_seed(0)
    return build(num_classes, *words_of(system), *words)


@pytest.mark.gate
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_does_what_every_system_must(system: str) -> None:
    check_system(lambda num_classes: build(num_classes, *words_of(system), *NO_DROPOUT[system]), without=[COMPILED])


@pytest.mark.parametrize("case", HARD, ids=str)
@pytest.mark.parametrize("system", SYSTEMS)
def test_hard_batches_train_every_system(system: str, case: Task) -> None:
    built = made(system, case.num_classes)
    result = trained(case, built)
    detections = built[2](result.output.final, case.batch.original_sizes)
    assert detections.boxes.isfinite().all()
    assert result.losses is not None
    for matches in result.losses.matches.values():
        assert (matches.classes.target < max(1, case.batch.targets.most_objects)).all()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("system", SYSTEMS)
def test_half_precision_gives_finite_losses_and_matches_what_is_float32(system: str, dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype=dtype):
        result = trained(task("objects"), made(system, 6))
    assert all(stage.logits.dtype == stage.boxes.dtype == torch.float32 for stage in result.output.stages.values())


def lvis() -> Task:
    """Pictures of 8 classes with one more in each that was looked for and is absent."""
    case = task("LVIS", num_classes=8)
    negative, none = torch.tensor([[6], [7]]), torch.full((2, 1), -1)
    targets = replace(case.batch.targets, federated=FederatedLabels(negative, none, none))
    return replace(case, batch=replace(case.batch, targets=targets))


@pytest.mark.parametrize("system", [system for system in SYSTEMS if system != "detr"])
def test_only_some_classes_count_in_every_system_with_scores_of_their_own(system: str) -> None:
    lists, word = lvis(), "criterion.rules.layers.federated=true"
    some, every = (trained(lists, made(system, 8, *words)).losses for words in ((word,), ()))
    assert some is not None
    assert every is not None
    assert some.names == every.names
    for (_, name), part, whole in zip(some.names, some.terms(), every.terms(), strict=True):
        assert part <= whole if name == "class" else torch.isclose(part, whole)


def test_detr_trains_lvis_with_classes_that_have_scores_of_their_own() -> None:
    trained(task("LVIS", num_classes=1203), made("detr", 1203, "classes=sigmoid"))


@pytest.mark.parametrize("system", ["dino", "dn_detr"])
def test_the_memory_of_noised_objects_is_bounded_by_default(system: str) -> None:
    detector, *_ = made(system, 6)
    body = detector.get_submodule("body")
    assert isinstance(body, QueryBody)
    group = body.groups["denoise"]
    assert isinstance(group, DenoisingQueries)
    assert group.max_slots == 1000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while tracing
@pytest.mark.parametrize("system", SYSTEMS + DENSE + REGIONS)
def test_a_whole_step_is_one_graph_whatever_the_number_of_objects(system: str) -> None:
    torch.compiler.reset()
    detector, criterion, _ = made(system, 8, *NO_DROPOUT.get(system, ()))
    graphs: list[GraphModule] = []

    def backend(graph: GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        return aot_eager(graph, inputs)

    compiled = torch.compile(step, fullgraph=True, backend=backend)
    for place, sizes in enumerate([(5, 1), (0, 0), (9, 2), (3, 4), (7, 7), (12, 3)]):
        expected, found = (run(function, detector, criterion, *sizes) for function in (step, compiled))
        torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
        assert place > 0 or len(graphs) == 1  # no break
    assert len(graphs) <= 4
    torch.compiler.reset()
