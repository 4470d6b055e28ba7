"""Where queries come from."""

import pytest
import torch

from deta.models import EncoderProposals, LearnedQueries
from deta.models.query.selection import TopKPerLevel, TopKPositions
from deta.models.query.tokens import FeatureTokens
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


@pytest.mark.parametrize("reference_size", [2, 4])
def test_learned_queries_do_what_every_source_must(reference_size: int) -> None:
    check_source(lambda: LearnedQueries(hidden_dim=HIDDEN_DIM, num_queries=5, reference_size=reference_size))


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
    assert source.reference_points.weight.grad is not None


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="reference_size"):
        LearnedQueries(hidden_dim=HIDDEN_DIM, reference_size=3)
    with pytest.raises(ValueError, match="content"):
        stage(content="pixels")
    with pytest.raises(ValueError, match="hidden_dim"):
        stage(hidden_dim=30)
