"""What every source of queries must do, on any maps."""

from collections.abc import Callable, Collection
from dataclasses import replace
from operator import itemgetter

import torch
from torch import Tensor

from deta.models import FeatureTokens, Queries, QuerySource
from deta.ops.rows import take_rows
from deta.structures import Prediction
from deta.testing.harness import (
    check,
    gradients,
    name_of,
    one_graph,
    require,
    require_equal,
    require_finite,
    require_tensor,
    require_unchanged,
)
from deta.testing.memories import Memory, memories, memory, parts_of, require_queries
from deta.testing.modules import ROUNDING, made, reloaded, require_all_trained, weighted_sum

NUM_SEEDS = 8
"""Trials of what the weights decide."""
MakeSource = Callable[[], QuerySource]


def check_source(make: MakeSource, *, without: Collection[str] = ()) -> None:
    """Check a source of queries.

    Args:
        make: Makes it; it must not have more than some hundred channels.
        without: Names of properties (functions of ``deta.testing.sources``) that it does not promise.

    Raises:
        AssertionError: A property does not hold; the message names it and the input.
        ValueError: A name in ``without`` is none of a property.
    """
    every, usual = memories(), memory("maps with padding")
    properties: dict[Callable[[MakeSource, Memory], None], list[Memory]] = {
        queries_have_their_form: every,
        queries_depend_on_the_memory_alone: [usual],
        tokens_of_padding_do_not_matter: [usual],
        positions_that_may_not_match_are_chosen_last: [usual],
        no_position_is_chosen_twice: every,
        images_do_not_matter_to_each_other: [usual],
        every_parameter_is_trained: every,
        boxes_and_logits_are_float32_under_autocast: [usual],
        weights_are_all_that_a_source_is: [usual],
        a_compiled_source_is_one_graph_and_gives_the_same: [usual],
    }
    check(make, properties, name=name_of(made(make)), without=without)


def queries_have_their_form(make: MakeSource, case: Memory) -> None:
    """Shapes, types and ranges are those of ``Queries`` and ``Prediction``."""
    source, memory, queries, first = _asked(make, case)
    num_images, num_positions = memory.is_padding.shape
    require_queries(queries, num_images, source.hidden_dim)
    size = source.reference_size
    found = 0 if queries.references is None else queries.references.shape[2]
    require(found == size, f"reference_size is {size}, but references end in another")
    require(size in (0, 2, 4), f"reference_size must be 0, 2 or 4, got {size}")
    if first is None:
        require(queries.source is None, "queries are made of positions, but there is no first stage")
        return
    shape = (num_images, num_positions, first.logits.shape[-1])
    require_tensor(first.logits, "logits of the first stage", shape, torch.float32)
    for name in ("boxes", "priors"):
        require_tensor(getattr(first, name), f"{name} of the first stage", (*shape[:2], 4), torch.float32)
    require_finite({"logits": first.logits, "boxes": first.boxes}, "the first stage")
    require(not first.priors.requires_grad, "priors carry a gradient")
    if queries.source is not None:
        require_tensor(queries.source, "Queries.source", queries.content.shape[:2], torch.int64)
        known = (queries.source >= -1) & (queries.source < num_positions)
        require(bool(known.all()), f"Queries.source leaves -1..{num_positions - 1}")


def queries_depend_on_the_memory_alone(make: MakeSource, case: Memory) -> None:
    """Asked twice, a source gives the same, and it leaves its input as it was."""
    source, memory = made(make), case.tokens(made(make).hidden_dim)
    kept = memory.map(Tensor.clone)
    first, second = (parts_of(*source(memory)) for _ in range(2))
    for name, values in first.items():
        require_equal(second[name], values, f"{name}, asked again")
    require_unchanged(memory, kept, "memory")


def tokens_of_padding_do_not_matter(make: MakeSource, case: Memory) -> None:
    """Other tokens on padding change no query."""
    source, memory, queries, _ = _asked(make, case)
    other = replace(memory, tokens=torch.where(memory.is_padding[..., None], 7 - memory.tokens, memory.tokens))
    found, _ = source(other)
    for name, values in parts_of(queries, None).items():
        require_equal(getattr(found, name), values, f"{name} with other tokens on padding")


def positions_that_may_not_match_are_chosen_last(make: MakeSource, case: Memory) -> None:
    """Queries are made of positions that may match as long as there are any."""
    for seed in range(NUM_SEEDS):
        _, _, queries, first = _asked(make, case, seed=seed)
        if first is None or queries.source is None:
            return
        can_match = first.can_match()
        chosen = (take_rows(can_match.long(), queries.source) > 0) & (queries.source >= 0)
        wanted = can_match.sum(1).clamp(max=(queries.source >= 0).sum(1))
        require_equal(chosen.sum(1), wanted, "queries of positions that may match, by image")


def no_position_is_chosen_twice(make: MakeSource, case: Memory) -> None:
    """No two queries of an image are made of one position."""
    _, _, queries, _ = _asked(make, case)
    for row in [] if queries.source is None else queries.source:
        made_of = row[row >= 0]
        require(len(made_of.unique()) == len(made_of), "a position is chosen twice")


def images_do_not_matter_to_each_other(make: MakeSource, case: Memory) -> None:
    """An image alone has the queries that it has in a batch."""
    source, memory, queries, _ = _asked(make, case)
    for index in range(len(memory.tokens)):
        only = itemgetter(slice(index, index + 1))
        alone, _ = source(memory.map(only))
        for name, values in parts_of(queries, None).items():
            if name != "block":
                require_equal(getattr(alone, name), only(values), f"{name} of image {index} alone", **ROUNDING)


def every_parameter_is_trained(make: MakeSource, case: Memory) -> None:
    """The gradient of queries and first stage reaches every parameter and is finite, on any maps."""
    source, _, queries, first = _asked(make, case)
    require_all_trained(source, weighted_sum(parts_of(queries, first)))


def boxes_and_logits_are_float32_under_autocast(make: MakeSource, case: Memory) -> None:
    """What decides selections and boxes keeps its precision, and all is finite."""
    source = made(make)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        queries, first = source(case.tokens(source.hidden_dim))
    parts = {} if queries.references is None else {"references": queries.references}
    if first is not None:
        parts |= {"logits": first.logits, "boxes": first.boxes}
    for name, values in parts.items():
        require(values.dtype == torch.float32, f"{name} are {values.dtype}")
    require_finite(parts_of(queries, first), "what a source gives under autocast")


def weights_are_all_that_a_source_is(make: MakeSource, case: Memory) -> None:
    """Another source with the same weights gives the same queries."""
    first, second = reloaded(make)
    memory = case.tokens(made(make).hidden_dim)
    for name, values in parts_of(*first(memory)).items():
        require_equal(parts_of(*second(memory))[name], values, f"{name} with weights of a file")


def a_compiled_source_is_one_graph_and_gives_the_same(make: MakeSource, case: Memory) -> None:
    """``torch.compile(fullgraph=True)`` takes the source; queries and gradients are those of eager PyTorch."""
    source, memory, queries, first = _asked(make, case)
    weights = dict(source.named_parameters())
    expected = gradients(weighted_sum(parts_of(queries, first)), weights)
    with one_graph(source, with_backward=True) as compiled:
        found = parts_of(*compiled(memory))
        trained = gradients(weighted_sum(found), weights)
    for name, values in parts_of(queries, first).items():
        require_equal(found[name].detach(), values.detach(), f"{name}, compiled", **ROUNDING)
    for name, values in expected.items():
        require_equal(trained[name], values, f"the gradient of {name}, compiled", **ROUNDING)


def _asked(
    make: MakeSource, case: Memory, seed: int = 0
) -> tuple[QuerySource, FeatureTokens, Queries, Prediction | None]:
    source = made(make, seed=seed)
    memory = case.tokens(source.hidden_dim)
    queries, first = source(memory)
    return source, memory, queries, first
