"""Where queries come from."""

from typing import Any

import pytest
import torch

from deta.models import DecreasingCount, EncoderProposals, LabelEmbedding, LearnedBoxes, LearnedQueries
from deta.models.query.selection import TopKPerLevel, TopKPositions
from deta.models.query.tokens import FeatureTokens
from deta.ops.random import Draw
from deta.testing import check_source
from tests.models.tiny import HIDDEN_DIM, tokens


@pytest.fixture
def memory() -> FeatureTokens:
    """Two images, the second half padded: 16 + 4 positions."""
    masks = [torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 2, 2, dtype=torch.bool)]
    masks[0][1, :, 2:] = True
    masks[1][1, :, 1:] = True
    return tokens(masks)


def stage(**options: object) -> EncoderProposals:
    torch.manual_seed(0)
    arguments = {"hidden_dim": HIDDEN_DIM, "num_queries": 6, "selection": TopKPositions()} | options
    return EncoderProposals(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"selection": TopKPerLevel()}, {"content": "position", "num_queries": 20}])
def test_the_first_stage_does_what_every_source_must(options: dict[str, object]) -> None:
    check_source(lambda: stage(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"content": "learned", "score": "best_class", "num_classes": 3},
        {"content": "learned", "position": "none", "start_small": True},
        {"content": "tokens", "num_queries": DecreasingCount(start=9, end=5, epochs=2)},
    ],
)
def test_other_contents_of_the_first_stage_do_what_every_source_must(options: dict[str, object]) -> None:
    # A map of fewer cells than queries leaves learned vectors untrained.
    without = ["every_parameter_is_trained"] if options["content"] == "learned" else []
    check_source(lambda: stage(**options), without=without)


@pytest.mark.parametrize("reference_size", [0, 2, 4])
@pytest.mark.parametrize("content", ["learned", "zeros"])
def test_learned_queries_do_what_every_source_must(reference_size: int, content: str) -> None:
    options: dict[str, Any] = {"reference_size": reference_size, "content": content}
    check_source(lambda: LearnedQueries(hidden_dim=HIDDEN_DIM, num_queries=5, **options))


@pytest.mark.parametrize(
    "options", [{}, {"content": "learned"}, {"num_patterns": 3}, {"content": "learned", "num_patterns": 2}]
)
def test_learned_boxes_do_what_every_source_must(options: dict[str, Any]) -> None:
    check_source(lambda: LearnedBoxes(hidden_dim=HIDDEN_DIM, num_queries=5, **options))


def test_queries_of_a_pattern_stand_together_and_have_its_content(memory: FeatureTokens) -> None:
    source = LearnedBoxes(hidden_dim=HIDDEN_DIM, num_queries=5, num_patterns=3)
    queries, first = source(memory)
    assert first is None
    assert queries.count == 15
    assert source.patterns is not None
    assert torch.equal(queries.content[0, 5:10], source.patterns.weight[1].expand(5, -1))
    assert torch.equal(queries.references[0, 10:], source.boxes.weight.sigmoid())


def test_queries_without_a_label_have_the_last_vector_of_the_labels(memory: FeatureTokens) -> None:
    labels = LabelEmbedding(num_classes=3, hidden_dim=HIDDEN_DIM, has_indicator=True)
    source = LearnedBoxes(hidden_dim=HIDDEN_DIM, num_queries=5, content="label", labels=labels)
    queries, _ = source(memory)
    assert torch.equal(queries.content[0, 0, :-1], labels.weight[3])
    encoded = source.encode(torch.tensor([[2, 3]]), torch.rand(1, 2, 4))
    assert torch.equal(encoded.content[0, :, :-1], labels.weight[2:4])
    assert (queries.content[..., -1] == 0).all()
    assert (encoded.content[..., -1] == 1).all()


def test_queries_of_objects_have_the_position_of_their_box(memory: FeatureTokens) -> None:
    source = stage(labels=LabelEmbedding(num_classes=3, hidden_dim=HIDDEN_DIM))
    queries, _ = source(memory)
    encoded = source.encode(torch.zeros(2, 6, dtype=torch.int64), queries.references)
    assert encoded.position is not None
    assert torch.equal(encoded.position, queries.position)


def test_the_number_of_queries_falls_with_the_epochs(memory: FeatureTokens) -> None:
    source = stage(num_queries=DecreasingCount(start=10, end=4, epochs=3))
    counts = [source(memory, Draw.of(0, epoch=epoch))[0].count for epoch in (0, 1, 2, 3, 9)]
    assert counts == [10, 8, 6, 4, 4]
    assert source(memory)[0].count == 4


def test_only_the_selected_positions_are_trained_where_a_source_says_so(memory: FeatureTokens) -> None:
    source = stage(supervise="selected", num_classes=3, score="best_class")
    queries, first = source(memory)
    trained = source.supervised(first, queries)
    assert trained.logits.shape == (2, 6, 3)
    assert torch.equal(trained.boxes.detach(), queries.references)
    assert trained.levels is not None
    assert torch.equal(trained.levels, first.levels[queries.source])
    scores = first.logits.amax(-1).masked_fill(~first.may_match, -torch.inf)
    assert torch.equal(queries.source[0], scores[0].topk(6).indices)


def test_content_that_needs_a_position_is_refused_without_one() -> None:
    with pytest.raises(ValueError, match=r"model.body.source.content=position is made of the position"):
        stage(content="position", position="none")


def test_references_are_the_boxes_of_the_chosen_positions(memory: FeatureTokens) -> None:
    queries, proposals = stage()(memory)
    for image in range(2):
        chosen = proposals.boxes[image, queries.source[image]]
        assert torch.equal(queries.references[image], chosen)
        scores = proposals.logits[image, :, 0].masked_fill(~proposals.may_match[image], -torch.inf)
        assert torch.equal(queries.source[image], scores.topk(6).indices)


def test_untrained_proposals_are_the_anchors(memory: FeatureTokens) -> None:
    _, proposals = stage()(memory)
    torch.testing.assert_close(proposals.boxes, proposals.priors)


def test_positions_on_padding_are_neither_valid_nor_chosen(memory: FeatureTokens) -> None:
    queries, proposals = stage()(memory)
    assert torch.equal(proposals.may_match, ~memory.is_padding)
    assert proposals.may_match.gather(1, queries.source).all()


def test_fewer_positions_than_queries_give_one_query_each(memory: FeatureTokens) -> None:
    queries, _ = stage(num_queries=100)(memory)
    assert queries.content.shape == (2, 20, HIDDEN_DIM)
    assert queries.source.sort(dim=1).values.tolist() == [list(range(20))] * 2


def test_queries_carry_no_gradient_to_the_first_stage(memory: FeatureTokens) -> None:
    first_stage = stage()
    queries, _ = first_stage(memory)
    (queries.content.sum() + queries.position.sum() + queries.references.sum()).backward()
    assert first_stage.memory_projection.weight.grad is None
    assert first_stage.head.class_logits.weight.grad is None
    assert first_stage.content_projection.weight.grad is not None


def test_content_from_position_alone_ignores_the_features(memory: FeatureTokens) -> None:
    by_position, by_features = stage(content="position"), stage()
    for source, depends in ((by_position, False), (by_features, True)):
        queries, _ = source(memory)
        position, content = source._projected(queries.references)
        assert torch.equal(queries.position, position)
        assert content is not None
        assert torch.equal(queries.content, content) is not depends
    assert not hasattr(by_position, "content_projection")


def test_more_class_outputs_are_possible_as_in_the_release(memory: FeatureTokens) -> None:
    queries, proposals = stage(num_classes=7)(memory)
    assert proposals.logits.shape == (2, 20, 7)
    scores = proposals.logits[0, :, 0]
    assert torch.equal(queries.source[0], scores.topk(6).indices)


def test_learned_queries_are_equal_for_every_image(memory: FeatureTokens) -> None:
    queries, proposals = LearnedQueries(hidden_dim=HIDDEN_DIM, num_queries=5)(memory)
    assert proposals is None
    assert queries.references.shape == (2, 5, 2)
    assert torch.equal(queries.content[0], queries.content[1])


def test_learned_references_are_trained(memory: FeatureTokens) -> None:
    source = LearnedQueries(hidden_dim=HIDDEN_DIM, num_queries=5, reference_size=4)
    queries, _ = source(memory)
    queries.references.sum().backward()
    assert source.reference_points is not None
    assert all(each.grad is not None for each in source.reference_points.parameters())


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="reference_size"):
        LearnedQueries(hidden_dim=HIDDEN_DIM, reference_size=3)
    with pytest.raises(ValueError, match="content"):
        stage(content="pixels")
    with pytest.raises(ValueError, match="hidden_dim"):
        stage(hidden_dim=30)
