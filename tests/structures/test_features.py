"""Feature maps of a batch."""

from dataclasses import replace

import pytest
import torch

from deta.structures import Features


def features() -> Features:
    """Two levels of different width, of one image of 20 x 30 pixels."""
    return Features(
        maps=(torch.zeros(1, 4, 3, 4), torch.zeros(1, 6, 2, 2)),
        is_padding=(torch.zeros(1, 3, 4, dtype=torch.bool), torch.zeros(1, 2, 2, dtype=torch.bool)),
        strides=(8, 16),
        image_sizes=torch.tensor([[20.0, 30.0]]),
    )


def test_widths_may_differ_and_sizes_are_height_before_width() -> None:
    assert features().spatial_shapes == ((3, 4), (2, 2))
    assert features().frame().tolist() == [[30.0, 20.0, 30.0, 20.0]]


def test_features_move_as_one() -> None:
    halved = features().map(lambda tensor: tensor.to(torch.float16))
    assert {level.dtype for level in halved.maps} == {torch.float16}
    assert halved.strides == (8, 16)


def test_levels_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a map, its padding and its stride for every level, got .*'strides': 1"):
        replace(features(), strides=(8,))
    with pytest.raises(ValueError, match=r"of level 1 must have one size, got \(1, 6, 2, 2\) and \(1, 2, 3\)"):
        replace(features(), is_padding=(features().is_padding[0], torch.zeros(1, 2, 3, dtype=torch.bool)))


def test_the_padded_size_is_that_of_the_cells_unless_it_is_known() -> None:
    assert features().padded() == (24, 32)
    assert replace(features(), padded_size=(21, 30)).padded() == (21, 30)
