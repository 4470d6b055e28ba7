"""Which encoder positions become queries."""

import pytest
import torch
from torch import Tensor

from deta.models.query.selection import TopKPerLevel, TopKPositions

SPREAD = torch.tensor([0.0, 0.0, 0.01, 0.01])


def spread_boxes(count: int) -> Tensor:
    """Boxes ``[1, count, 4]`` that do not overlap."""
    boxes = SPREAD.repeat(1, count, 1)
    boxes[..., 0] = (torch.arange(count) + 0.5) / count
    return boxes


def all_valid(scores: Tensor) -> Tensor:
    return torch.ones_like(scores, dtype=torch.bool)


def test_best_positions_come_first() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.3]])
    boxes = spread_boxes(3).expand(2, -1, -1)
    assert TopKPositions()(scores, boxes, all_valid(scores), (3,), 2).tolist() == [[1, 2], [0, 2]]


def test_of_equal_scores_the_earlier_position_is_chosen() -> None:
    scores = torch.zeros(1, 5000)
    assert TopKPositions()(scores, spread_boxes(5000), all_valid(scores), (5000,), 3).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("selection", [TopKPositions(), TopKPerLevel(), TopKPerLevel(nms_threshold=None)])
def test_invalid_positions_are_chosen_only_when_the_valid_ones_run_out(selection: TopKPositions | TopKPerLevel) -> None:
    scores = torch.tensor([[9.0, 1.0, 8.0, 2.0]])
    is_valid = torch.tensor([[False, True, False, True]])
    assert selection(scores, spread_boxes(4), is_valid, (2, 2), 2).tolist() == [[3, 1]]
    assert selection(scores, spread_boxes(4), is_valid, (2, 2), 3).tolist() == [[3, 1, 0]]


def test_every_level_gets_its_share_before_the_best_of_the_rest() -> None:
    # Level 0 holds positions 0-3, level 1 positions 4-7; level 0 has all the best scores.
    scores = torch.tensor([[9.0, 8.0, 7.0, 6.0, 4.0, 3.0, 2.0, 1.0]])
    selection = TopKPerLevel(nms_threshold=None)
    chosen = selection(scores, spread_boxes(8), all_valid(scores), (4, 4), 5)
    assert chosen.tolist() == [[0, 1, 2, 4, 5]]


def test_fewer_queries_than_levels_are_the_best_of_all() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    chosen = TopKPerLevel()(scores, spread_boxes(3), all_valid(scores), (1, 1, 1), 2)
    assert chosen.tolist() == [[1, 2]]


def test_worse_of_two_equal_boxes_of_a_level_gives_way() -> None:
    boxes = spread_boxes(4)
    boxes[:, 1] = boxes[:, 0]
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    assert TopKPerLevel()(scores, boxes, all_valid(scores), (4,), 3).tolist() == [[0, 2, 3]]
    unsuppressed = TopKPerLevel(nms_threshold=None)
    assert unsuppressed(scores, boxes, all_valid(scores), (4,), 3).tolist() == [[0, 1, 2]]


def test_equal_boxes_of_two_levels_both_stay() -> None:
    boxes = spread_boxes(4)
    boxes[:, 2] = boxes[:, 0]
    scores = torch.tensor([[4.0, 1.0, 3.0, 2.0]])
    assert TopKPerLevel()(scores, boxes, all_valid(scores), (2, 2), 2).tolist() == [[0, 2]]


def test_overlap_is_measured_on_boxes_cut_at_the_image_border() -> None:
    # Both reach far beyond the image, and cover it alike inside.
    boxes = torch.tensor([[[0.0, 0.5, 1.0, 1.0], [-0.5, 0.5, 2.0, 1.0], [0.9, 0.9, 0.1, 0.1]]])
    scores = torch.tensor([[3.0, 2.0, 1.0]])
    assert TopKPerLevel()(scores, boxes, all_valid(scores), (3,), 2).tolist() == [[0, 2]]


def test_only_an_image_with_too_few_survivors_gets_the_plain_best() -> None:
    equal = SPREAD.repeat(1, 4, 1)
    scores = torch.tensor([[1.0, 4.0, 3.0, 2.0]] * 2)
    boxes = torch.cat((equal, spread_boxes(4)))
    boxes[1, 2] = boxes[1, 1]
    assert TopKPerLevel()(scores, boxes, all_valid(scores), (4,), 3).tolist() == [[1, 2, 3], [1, 3, 0]]


def test_candidates_of_a_level_are_limited() -> None:
    scores = torch.tensor([[9.0, 8.0, 7.0, 1.0, 0.5, 0.1]])
    selection = TopKPerLevel(nms_threshold=None, pre_topk=2)
    assert selection(scores, spread_boxes(6), all_valid(scores), (3, 3), 4).tolist() == [[0, 1, 3, 4]]
    assert selection(scores, spread_boxes(6), all_valid(scores), (3, 3), 5).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("seed", range(3))
def test_choice_equals_a_slow_one_made_position_by_position(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    level_sizes, num_queries = (40, 12, 5, 1), 18
    scores = torch.randn(1, sum(level_sizes), generator=generator)
    is_valid = torch.rand(1, sum(level_sizes), generator=generator) > 0.2
    boxes = torch.rand(1, sum(level_sizes), 4, generator=generator)
    chosen = TopKPerLevel(nms_threshold=None, pre_topk=15)(scores, boxes, is_valid, level_sizes, num_queries)
    assert chosen[0].tolist() == slow_choice(scores[0], is_valid[0], level_sizes, num_queries, 15)


def slow_choice(
    scores: Tensor, is_valid: Tensor, level_sizes: tuple[int, ...], num_queries: int, pre_topk: int
) -> list[int]:
    def best_first(positions: list[int]) -> list[int]:
        return sorted((p for p in positions if is_valid[p]), key=lambda p: -float(scores[p]))

    share: list[int] = []
    rest: list[int] = []
    start = 0
    for size in level_sizes:
        candidates = best_first(list(range(start, start + size)))[:pre_topk]
        share += candidates[: num_queries // len(level_sizes)]
        rest += candidates[num_queries // len(level_sizes) :]
        start += size
    return best_first(share + best_first(rest)[: num_queries - len(share)])


def test_bad_threshold_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="nms_threshold"):
        TopKPerLevel(nms_threshold=1.5)
