"""Changes of an assignment, counted by hand."""

import math

import pytest
import torch
from torch import Tensor

from deta.assign.instability import num_changed_candidates, set_distance


def pairs(owners: list[int]) -> Tensor:
    """``(candidate, object)`` of the object of every candidate, -1 for none."""
    found = [(candidate, owner) for candidate, owner in enumerate(owners) if owner >= 0]
    return torch.tensor(found, dtype=torch.int64).view(-1, 2)


@pytest.mark.parametrize(
    ("before", "after", "changed", "distances"),
    [
        ([0, 1, -1, -1], [0, 1, -1, -1], 0, [0, 0]),
        ([0, 1, -1, -1], [0, -1, 1, -1], 2, [0, 1]),  # object 1 moved from one query to another
        ([0, 1, -1, -1], [1, 0, -1, -1], 2, [1, 1]),  # both changed places
        ([0, 1, -1, -1], [0, -1, -1, -1], 1, [0, 1]),  # object 1 lost its query
        ([-1, -1, -1, -1], [0, -1, -1, -1], 1, [1, math.nan]),
        ([-1, -1, -1, -1], [-1, -1, -1, -1], 0, [math.nan, math.nan]),
        ([0, 0, 0, 1], [0, 0, 1, 1], 1, [1 / 3, 1 / 2]),
        ([0, 0, -1, 1], [-1, 0, 0, 1], 2, [2 / 3, 0]),
    ],
)
def test_changes_are_those_of_a_count_by_hand(
    before: list[int], after: list[int], changed: int, distances: list[float]
) -> None:
    for first, second in ((before, after), (after, before)):
        assert num_changed_candidates(pairs(first), pairs(second)) == changed
        assert changed == sum(old != new for old, new in zip(first, second, strict=True))  # the published sum
        assert set_distance(pairs(first), pairs(second), 2).tolist() == pytest.approx(distances, nan_ok=True)


def test_the_order_of_the_pairs_and_repeated_ones_change_nothing() -> None:
    first, second = pairs([0, 0, 1, -1]), pairs([0, 1, 1, -1])
    mixed = torch.cat((second.flip(0), second[:1]))
    assert num_changed_candidates(first, mixed) == num_changed_candidates(first, second) == 1
    assert torch.equal(set_distance(first, mixed, 2), set_distance(first, second, 2))


def test_a_candidate_with_two_objects_changes_when_it_loses_one() -> None:
    both, one = torch.tensor([[3, 0], [3, 1]]), torch.tensor([[3, 0]])
    assert num_changed_candidates(both, one) == 1
    assert set_distance(both, one, 2).tolist() == [0, 1]


def test_an_image_without_objects_has_no_distance() -> None:
    nothing = pairs([-1, -1])
    assert set_distance(nothing, nothing, 0).shape == (0,)
