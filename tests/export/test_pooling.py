"""Pools that round up, with a border in place of the rounding."""

import pytest
import torch
from torch import nn

from deta.export.pooling import bordered_pools


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 0), (3, 2, 1), (2, 2, 0), ((3, 5), (2, 3), 0)])
def test_a_border_changes_no_value_of_a_map_of_any_size(
    kernel: int | tuple[int, int], stride: int | tuple[int, int], padding: int
) -> None:
    network = nn.Sequential(nn.MaxPool2d(kernel, stride, padding, ceil_mode=True))
    maps = [-torch.rand(1, 2, height, width) for height in (5, 6, 7, 8) for width in (9, 10, 11)]
    expected = [network(values) for values in maps]
    pool = network[0]
    with bordered_pools(network):
        assert network[0] is not pool
        found = [network(values) for values in maps]
    assert network[0] is pool
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_pool_whose_last_window_may_begin_outside_is_left_alone() -> None:
    network = nn.Sequential(nn.MaxPool2d(2, 3, ceil_mode=True), nn.MaxPool2d(3, 2))
    pools = list(network)
    with bordered_pools(network):
        assert list(network) == pools
