"""Query groups."""

import torch

from deta.models.groups import consecutive_groups, group_mask
from deta.structures import GroupSlice

CPU = torch.device("cpu")


def test_groups_follow_each_other() -> None:
    groups = consecutive_groups([("main", 2), ("denoising", 3)])
    assert groups == (GroupSlice("main", 0, 2), GroupSlice("denoising", 2, 5))


def test_queries_see_their_own_group_alone() -> None:
    mask = group_mask(consecutive_groups([("first", 1), ("second", 2)]), CPU)
    assert mask is not None
    assert mask.tolist() == [[False, True, True], [True, False, False], [True, False, False]]


def test_single_group_needs_no_mask() -> None:
    assert group_mask(consecutive_groups([("main", 4)]), CPU) is None
