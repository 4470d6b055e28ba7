"""Layers are compiled one by one, once for all of a kind, and give what eager PyTorch gives."""

import copy
import pickle
from collections.abc import Iterator
from types import MethodType

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters  # the only place that tells how many graphs there are

from deta.assign import Draw
from deta.models.region import Region
from deta.training.regions import compile_regions, regions
from deta.training.step import step
from tests.models.tiny import query_body, tiny_detector
from tests.training.test_step import CRITERIA, NUM_CLASSES, batch

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch, tracing

SIZES = [(64, 96), (96, 64), (128, 96), (80, 160), (96, 96), (72, 104), (160, 128), (88, 88), (136, 64), (120, 152)]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Code of other tests counts against the number of variants, and their graphs as graphs."""
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def trained(detector: nn.Module, height: int, width: int) -> tuple[Tensor, dict[str, Tensor | None]]:
    """All terms and gradients of a batch of this size."""
    detector.zero_grad()
    losses = step(detector, CRITERIA["iou"](), batch(5, 1, height=height, width=width), Draw.of(1, 2)).losses
    assert losses is not None
    losses.total().backward()
    return losses.terms().detach(), {name: parameter.grad for name, parameter in detector.named_parameters()}


@pytest.mark.slow
def test_ten_image_sizes_need_one_graph_of_each_kind_and_a_few_more_and_give_what_eager_gives() -> None:
    eager, detector = tiny_detector(num_classes=NUM_CLASSES), tiny_detector(num_classes=NUM_CLASSES)
    compile_regions(detector, backend="aot_eager", fullgraph=True)  # a break is an error
    counts = []
    for height, width in SIZES:
        expected, found = trained(eager, height, width), trained(detector, height, width)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-7)
        for name, gradient in expected[1].items():
            torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)
        counts.append(counters["stats"]["unique_graphs"])
    num_kinds = len({type(part) for part in regions(detector)})
    assert num_kinds == 3  # backbone, layers of the encoder, layers of the decoder
    assert counts[0] == num_kinds
    assert counts[2:] == [counts[2]] * (len(SIZES) - 2)
    assert counts[-1] <= 2 * num_kinds


def test_names_copies_and_pickles_stay_as_they_are() -> None:
    eager, detector = tiny_detector(), tiny_detector()
    compile_regions(detector, backend="eager")
    assert list(detector.state_dict()) == list(eager.state_dict())
    assert [name for name, _ in detector.named_modules()] == [name for name, _ in eager.named_modules()]
    for other in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        own = query_body(other).encoder.get_submodule("layers.0")
        assert isinstance(own.forward, MethodType)
        assert own.forward.__self__ is own
        for name, values in other.state_dict().items():
            assert torch.equal(values, eager.state_dict()[name]), name


def test_hooks_of_a_region_run() -> None:
    detector, seen = tiny_detector(num_classes=NUM_CLASSES), list[str]()
    compile_regions(detector, backend="eager")
    for part in regions(detector):
        part.register_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    trained(detector, 64, 96)
    assert seen == ["ConvBackbone", *["EncoderLayer"] * 2, *["DecoderLayer"] * 2]


def test_a_region_with_others_inside_is_left_to_them() -> None:
    class Outer(Region):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(Region(), nn.Linear(2, 2), Region())

    outer = Outer()
    assert regions(outer) == [outer.inner[0], outer.inner[2]]
