"""Further queries of the kind that detects."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from deta.models import EncoderProposals, FurtherQueries, LearnedBoxes, LearnedQueries, QueryGroup, QuerySource
from deta.models.query.body import QueryBody
from deta.models.query.selection import TopKPositions
from deta.ops.random import Draw
from deta.testing import check_group
from deta.testing.memories import memory
from tests.models.tiny import HIDDEN_DIM, tiny_detector

MakeSource = Callable[[], QuerySource]

SOURCES: dict[str, MakeSource] = {
    "points": partial(LearnedQueries, hidden_dim=HIDDEN_DIM, num_queries=5),
    "boxes": partial(LearnedBoxes, hidden_dim=HIDDEN_DIM, num_queries=5, content="learned"),
    "patterns": partial(LearnedBoxes, hidden_dim=HIDDEN_DIM, num_queries=5, num_patterns=2),
    "proposals": partial(EncoderProposals, hidden_dim=HIDDEN_DIM, num_queries=5, selection=TopKPositions()),
    "ranks": partial(
        EncoderProposals, hidden_dim=HIDDEN_DIM, num_queries=5, selection=TopKPositions(), content="learned"
    ),
}


def group(
    make: MakeSource, *, num_queries: int | None = None, times: int = 1, num_copies: int = 1
) -> tuple[QuerySource, FurtherQueries]:
    torch.manual_seed(0)
    source = make()
    return source, FurtherQueries(source=source, num_queries=num_queries, times=times, num_copies=num_copies)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("num_copies", [1, 3])
def test_further_queries_do_what_every_group_must(name: str, num_copies: int) -> None:
    # One cell has no position left beside the main query: what is learned of the others is not trained there.
    without = ["every_parameter_is_trained"] if name == "ranks" else []
    check_group(
        lambda: FurtherQueries(source=SOURCES[name](), num_queries=3, num_copies=num_copies),
        SOURCES[name],
        without=without,
    )


@pytest.mark.parametrize("name", ["proposals", "ranks"])
def test_the_best_positions_behind_those_of_the_main_queries_are_taken(name: str) -> None:
    source, further = group(SOURCES[name], num_queries=7)
    case = memory("maps with padding")
    tokens = case.tokens(HIDDEN_DIM)
    main, first = source(tokens)
    queries = further(source, tokens, main, first, case.targets, Draw.of(0))
    scores = first.logits[..., 0].masked_fill(~first.may_match, -torch.inf)
    expected = scores[0].topk(12).indices
    assert torch.equal(torch.cat((main.source[0], queries.source[0])), expected)
    for image in range(len(tokens.tokens)):
        chosen = torch.cat((main.source[image], queries.source[image]))
        assert len(chosen.unique()) == len(chosen)


def test_parts_that_are_assigned_for_themselves_are_equal_and_do_not_see_each_other() -> None:
    source, further = group(SOURCES["proposals"], num_queries=40, num_copies=3)
    case = memory("maps with padding")
    tokens = case.tokens(HIDDEN_DIM)
    main, first = source(tokens)
    queries = further(source, tokens, main, first, case.targets, Draw.of(0))
    left = tokens.tokens.shape[1] - main.count
    assert queries.count == 3 * (left // 3) < 3 * 40
    assert queries.block.bincount().tolist() == [left // 3] * 3


def test_there_are_as_many_as_detect_unless_said_otherwise() -> None:
    source, further = group(SOURCES["points"], times=2, num_copies=4)
    case = memory("maps with padding")
    tokens = case.tokens(HIDDEN_DIM)
    main, first = source(tokens)
    assert further(source, tokens, main, first, case.targets, Draw.of(0)).count == 4 * 2 * 5


def test_a_source_without_further_queries_says_so() -> None:
    source = QuerySource()
    with pytest.raises(ValueError, match=r"model.body.source \(QuerySource\) does not say how many .*num_queries"):
        FurtherQueries(source=source)
    with pytest.raises(ValueError, match=r"model.body.source \(QuerySource\) makes no queries beside .*further="):
        FurtherQueries(source=source, num_queries=3)


def test_what_a_group_sees_is_one_of_three_words() -> None:
    class Typo(QueryGroup):
        sees: Any = "mine"

    body = tiny_detector().body
    assert isinstance(body, QueryBody)
    parts: dict[str, Any] = {"encoder": body.encoder, "source": body.source, "decoder": body.decoder, "num_classes": 3}
    parts |= {"hidden_dim": HIDDEN_DIM, "channels": [HIDDEN_DIM] * 4}
    with pytest.raises(ValueError, match=r"model\.body\.groups\.other\.sees must be one of all, main, own, got 'mine'"):
        QueryBody(**parts, groups={"other": Typo()})
