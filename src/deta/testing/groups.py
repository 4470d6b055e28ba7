"""What every group of queries beside those that detect must do, on any objects."""

from collections.abc import Callable, Collection
from operator import itemgetter

import torch
from torch import Tensor

from deta.models import FeatureTokens, Queries, QueryGroup, QuerySource
from deta.ops.random import Draw
from deta.ops.rows import take_rows
from deta.structures import IGNORED, Targets
from deta.testing.harness import check, name_of, one_graph, require, require_equal, require_unchanged
from deta.testing.memories import Memory, memories, memory, parts_of, require_queries
from deta.testing.modules import ROUNDING, made, reloaded, require_all_trained, weighted_sum
from deta.testing.scenes import WitnessedDraw, with_other_padding

MakeGroup = Callable[[], QueryGroup]
MakeSource = Callable[[], QuerySource]


def check_group(make: MakeGroup, source: MakeSource, *, without: Collection[str] = ()) -> None:
    """Check a group of queries beside those that detect.

    Args:
        make: Makes the group.
        source: Makes the source whose queries detect, and whose parameters the group may share.
        without: Names of properties (functions of ``deta.testing.groups``) that it does not promise.

    Raises:
        AssertionError: A property does not hold; the message names it and the input.
        ValueError: A name in ``without`` is none of a property.
    """
    every, usual = memories(), memory("maps with padding")

    def made_with_source() -> "_Grouped":
        return _Grouped(make(), source())

    properties: dict[Callable[[Callable[[], _Grouped], Memory], None], list[Memory]] = {
        queries_have_their_form: every,
        queries_depend_on_input_and_draw_alone: [usual],
        padded_objects_do_not_matter: [usual],
        images_do_not_matter_to_each_other: [usual],
        every_parameter_is_trained: every,
        weights_are_all_that_a_group_is: [usual],
        a_compiled_group_is_one_graph_and_gives_the_same: [usual],
    }
    check(made_with_source, properties, name=name_of(made(make)), without=without)


class _Grouped(torch.nn.Module):
    """A group with the source that it stands beside."""

    def __init__(self, group: QueryGroup, source: QuerySource) -> None:
        super().__init__()
        self.group, self.source = group, source

    def forward(self, memory: FeatureTokens, targets: Targets, draw: Draw) -> Queries:
        main, first = self.source(memory, draw)
        queries: Queries = self.group(self.source, memory, main, first, targets, draw)
        return queries


MakeGrouped = Callable[[], _Grouped]


def queries_have_their_form(make: MakeGrouped, case: Memory) -> None:
    """Shapes, types and ranges are those of ``Queries``; what is made for an object is made for a real one."""
    module, memory = _grouped(make, case)
    queries = module(memory, case.targets, Draw.of(0))
    require_queries(queries, len(case.targets.boxes), module.source.hidden_dim)
    if queries.given is not None:
        require(bool((queries.given >= IGNORED).all()), "Queries.given leaves -2..")
        is_made = queries.given >= 0
        is_real = take_rows(case.targets.is_object.long(), queries.given) > 0
        require(bool((is_real & (queries.given < case.targets.is_object.shape[1]))[is_made].all()), "made for padding")


def queries_depend_on_input_and_draw_alone(make: MakeGrouped, case: Memory) -> None:
    """The same draw gives the same queries, and input stays as it was."""
    module, memory = _grouped(make, case)
    kept = case.targets.map(Tensor.clone)
    first, second = (parts_of(module(memory, case.targets, Draw.of(3))) for _ in range(2))
    for name, values in first.items():
        require_equal(second[name], values, f"{name}, asked again")
    require_unchanged(case.targets, kept, "targets")


def padded_objects_do_not_matter(make: MakeGrouped, case: Memory) -> None:
    """Other boxes and labels in padding, and more padding, change nothing of the queries that exist."""
    module, memory = _grouped(make, case)
    expected = module(memory, case.targets, Draw.of(0))
    decoys = torch.rand(len(case.targets.boxes), 5, 4, generator=torch.Generator().manual_seed(1))
    found = module(memory, with_other_padding(case.targets, decoys), Draw.of(0))
    require(found.content.shape == expected.content.shape, "more padding makes more queries: use most_objects")
    exists = torch.ones_like(expected.content[..., 0], dtype=torch.bool) if expected.exists is None else expected.exists
    require_equal(found.exists, expected.exists, "Queries.exists with other padding")
    for name in ("content", "position", "references", "given"):
        values = getattr(expected, name)
        if values is not None:
            require_equal(getattr(found, name)[exists], values[exists], f"{name} with other padding")


def images_do_not_matter_to_each_other(make: MakeGrouped, case: Memory) -> None:
    """An image alone, with what was drawn for it, has the queries that it has in a batch of as many slots."""
    module, memory = _grouped(make, case)
    draw = WitnessedDraw.of(0)
    together = parts_of(module(memory, case.targets, draw))
    for index in range(len(case.targets.boxes)):
        only = itemgetter(slice(index, index + 1))
        alone = parts_of(module(memory.map(only), case.targets.map(only), draw.rearranged(only)))
        for name, values in together.items():
            expected = values if name == "block" else only(values)
            require_equal(alone[name], expected, f"{name} of image {index} alone", **ROUNDING)


def every_parameter_is_trained(make: MakeGrouped, case: Memory) -> None:
    """The gradient of the queries reaches every parameter and is finite, also where there is no object."""
    module, memory = _grouped(make, case)
    require_all_trained(module.group, weighted_sum(parts_of(module(memory, case.targets, Draw.of(0)))))


def weights_are_all_that_a_group_is(make: MakeGrouped, case: Memory) -> None:
    """Another group with the same weights gives the same queries."""
    first, second = reloaded(make)
    _, memory = _grouped(make, case)
    expected, found = (parts_of(module(memory, case.targets, Draw.of(0))) for module in (first, second))
    for name, values in expected.items():
        require_equal(found[name], values, f"{name} with weights of a file")


def a_compiled_group_is_one_graph_and_gives_the_same(make: MakeGrouped, case: Memory) -> None:
    """``torch.compile(fullgraph=True)`` takes the group, and its queries are those of eager PyTorch."""
    module, memory = _grouped(make, case)
    expected = parts_of(module(memory, case.targets, Draw.of(0)))
    with one_graph(module, with_backward=False) as compiled:
        found = parts_of(compiled(memory, case.targets, Draw.of(0)))
    for name, values in expected.items():
        require_equal(found[name].detach(), values.detach(), f"{name}, compiled", **ROUNDING)


def _grouped(make: MakeGrouped, case: Memory) -> tuple[_Grouped, FeatureTokens]:
    module = made(make)
    return module, case.tokens(module.source.hidden_dim)
