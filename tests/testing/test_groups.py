"""The harness of query groups finds what is wrong with a group."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from deta.models import FeatureTokens, LearnedQueries, Queries, QueryGroup, QuerySource
from deta.ops.random import Draw
from deta.structures import BACKGROUND, Prediction, Targets
from deta.testing import check_group

WIDTH = 16


def source() -> QuerySource:
    return LearnedQueries(hidden_dim=WIDTH, num_queries=5, reference_size=4)


class Noised(QueryGroup):
    """A query for each place of an object, beside it."""

    def __init__(self, change: Callable[[Queries, Targets], Queries] | None = None) -> None:
        super().__init__()
        self.content = nn.Embedding(2, WIDTH)
        self.change = change

    def forward(
        self,
        source: QuerySource,
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
        targets: Targets,
        draw: Draw,
    ) -> Queries:
        slots = targets.most_objects
        exists, boxes = targets.is_object[:, :slots], targets.boxes[:, :slots]
        noise = draw.uniform("noise", boxes.shape, boxes.device)
        content, position = (row.expand(*exists.shape, WIDTH) for row in self.content.weight)
        queries = Queries(
            content,
            position,
            references=(boxes + 0.1 * noise).clamp(0, 1),
            given=torch.where(exists, torch.arange(slots).expand_as(exists), BACKGROUND),
            exists=exists,
        )
        return queries if self.change is None else self.change(queries, targets)


def references_of(queries: Queries) -> Tensor:
    assert queries.references is not None
    return queries.references


def reads_padding(queries: Queries, targets: Targets) -> Queries:
    return replace(queries, references=0.5 * (references_of(queries) + targets.boxes.mean(1, keepdim=True)))


def is_as_wide_as_the_padding(queries: Queries, targets: Targets) -> Queries:
    missing = targets.boxes.shape[1] - queries.content.shape[1]
    content, position = (nn.functional.pad(part, (0, 0, 0, missing)) for part in (queries.content, queries.content))
    return Queries(content, position, targets.boxes.clamp(0, 1))


def is_made_for_padding(queries: Queries, targets: Targets) -> Queries:
    return replace(queries, given=torch.zeros_like(queries.content[..., 0], dtype=torch.int64))


def looks_at_the_whole_batch(queries: Queries, targets: Targets) -> Queries:
    return replace(queries, references=references_of(queries) * targets.num_objects().sum().sigmoid())


def draws_by_itself(queries: Queries, targets: Targets) -> Queries:
    return replace(queries, references=torch.rand_like(references_of(queries)))


def trains_half_of_it(queries: Queries, targets: Targets) -> Queries:
    return replace(queries, content=queries.content.detach(), position=None)


def cannot_do_without_objects(queries: Queries, targets: Targets) -> Queries:
    return replace(queries, references=references_of(queries) - references_of(queries).amin(1, keepdim=True))


FAULTS: dict[Callable[[Queries, Targets], Queries], str] = {
    reads_padding: "padded objects do not matter",
    is_as_wide_as_the_padding: "more padding makes more queries: use most_objects",
    is_made_for_padding: "queries have their form.*made for padding",
    looks_at_the_whole_batch: "images do not matter to each other",
    draws_by_itself: "queries depend on input and draw alone",
    trains_half_of_it: "every parameter is trained",
    cannot_do_without_objects: "'queries have their form' with 'no object in any image'",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_group_is_found_by_the_property_that_it_lacks(fault: Callable[[Queries, Targets], Queries]) -> None:
    with pytest.raises(AssertionError, match=f"(?s)Noised fails .*{FAULTS[fault]}"):
        check_group(lambda: Noised(fault), source)


def test_a_group_without_fault_passes() -> None:
    check_group(Noised, source)
