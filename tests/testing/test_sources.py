"""The harness of query sources finds what is wrong with a source."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from deta.models import EncoderProposals, FeatureTokens, Queries, QuerySource
from deta.models.query.selection import TopKPositions
from deta.ops.random import Draw
from deta.structures import Prediction
from deta.testing import check_source

WIDTH = 16


class Changed(EncoderProposals):
    """A source that is right but for what ``change`` does to its answer."""

    def __init__(self, change: Callable[..., tuple[Queries, Prediction]] | None = None) -> None:
        super().__init__(hidden_dim=WIDTH, num_queries=20, selection=TopKPositions())
        self.change = change

    def forward(self, memory: FeatureTokens, draw: Draw | None = None) -> tuple[Queries, Prediction]:
        queries, first = super().forward(memory, draw)
        return (queries, first) if self.change is None else self.change(memory, queries, first)


def reads_padding(memory: FeatureTokens, queries: Queries, first: Prediction) -> tuple[Queries, Prediction]:
    return replace(queries, content=queries.content + memory.tokens.mean(1, keepdim=True)), first


def looks_at_the_whole_batch(memory: FeatureTokens, queries: Queries, first: Prediction) -> tuple[Queries, Prediction]:
    return replace(queries, content=queries.content - queries.content.mean(0, keepdim=True)), first


def draws_by_itself(memory: FeatureTokens, queries: Queries, first: Prediction) -> tuple[Queries, Prediction]:
    return replace(queries, content=queries.content + torch.rand_like(queries.content)), first


def leaves_the_image(memory: FeatureTokens, queries: Queries, first: Prediction) -> tuple[Queries, Prediction]:
    assert queries.references is not None
    return replace(queries, references=2 * queries.references), first


def chooses_a_position_twice(memory: FeatureTokens, queries: Queries, first: Prediction) -> tuple[Queries, Prediction]:
    assert queries.source is not None
    return replace(queries, source=queries.source[:, :1].expand_as(queries.source)), first


def has_half_precision_logits(memory: FeatureTokens, queries: Queries, first: Prediction) -> tuple[Queries, Prediction]:
    is_mixed = torch.is_autocast_enabled("cpu")
    return queries, replace(first, logits=first.logits.bfloat16() if is_mixed else first.logits)


def asks_the_device(memory: FeatureTokens, queries: Queries, first: Prediction) -> tuple[Queries, Prediction]:
    return (queries, first) if first.logits.max().item() > -1e9 else (queries, first.detach())


FAULTS: dict[Callable[..., tuple[Queries, Prediction]], str] = {
    reads_padding: "tokens of padding do not matter",
    looks_at_the_whole_batch: "images do not matter to each other",
    draws_by_itself: "queries depend on the memory alone",
    leaves_the_image: r"queries have their form.*references leave 0\.\.1",
    chooses_a_position_twice: "(no position is chosen twice|chosen last)",
    has_half_precision_logits: "boxes and logits are float32 under autocast",
    asks_the_device: "a compiled source is one graph",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_source_is_found_by_the_property_that_it_lacks(
    fault: Callable[..., tuple[Queries, Prediction]],
) -> None:
    with pytest.raises(AssertionError, match=f"(?s)Changed fails .*{FAULTS[fault]}"):
        check_source(lambda: Changed(fault))


def test_a_source_that_ignores_what_may_match_is_found() -> None:
    def best(scores: Tensor, boxes: Tensor, is_valid: Tensor, level_sizes: Sequence[int], num_queries: int) -> Tensor:
        return scores.argsort(dim=1, descending=True, stable=True)[:, :num_queries]

    def ignoring() -> QuerySource:
        return EncoderProposals(hidden_dim=WIDTH, num_queries=20, selection=best)

    with pytest.raises(AssertionError, match="'positions that may not match are chosen last' with 'maps with padding'"):
        check_source(ignoring)


def test_a_source_that_cannot_take_few_positions_is_found() -> None:
    def first(scores: Tensor, boxes: Tensor, is_valid: Tensor, level_sizes: Sequence[int], num_queries: int) -> Tensor:
        return scores.topk(9, dim=1).indices

    with pytest.raises(AssertionError, match="'queries have their form' with 'maps of one cell'"):
        check_source(lambda: EncoderProposals(hidden_dim=WIDTH, num_queries=9, selection=first))


def test_a_source_with_an_idle_parameter_is_found() -> None:
    class Idle(Changed):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(2, 2)

    with pytest.raises(
        AssertionError, match=r"every parameter is trained.*no gradient reaches idle\.weight, idle\.bias"
    ):
        check_source(Idle)


def test_a_source_that_is_more_than_its_weights_is_found() -> None:
    class Hidden(Changed):
        def __init__(self) -> None:
            super().__init__()
            self.offset = torch.rand(1)

        def forward(self, memory: FeatureTokens, draw: Draw | None = None) -> tuple[Queries, Prediction]:
            queries, first = super().forward(memory, draw)
            return replace(queries, content=queries.content + self.offset), first

    with pytest.raises(AssertionError, match="weights are all that a source is"):
        check_source(Hidden)


def test_a_source_without_fault_passes() -> None:
    check_source(Changed)


def test_what_a_source_does_not_promise_is_left_out_by_name() -> None:
    with pytest.raises(ValueError, match=r"got nothing; known are .*queries_depend_on_the_memory_alone"):
        check_source(Changed, without=["nothing"])
