"""The neck of CenterNet."""

import pytest
import torch
from torch.nn import functional

from deta.models import DeconvNeck
from deta.models.necks.deconv import DeformableConv2d


def convolution() -> DeformableConv2d:
    torch.manual_seed(0)
    return DeformableConv2d(2, 3, 3, padding=1, bias=False)


def test_a_deformable_convolution_starts_at_its_own_places_with_half_of_the_weight() -> None:
    layer, feature = convolution(), torch.randn(2, 2, 5, 7)
    torch.testing.assert_close(layer(feature), functional.conv2d(feature, layer.weight, padding=1) / 2)


def test_places_move_by_rows_and_columns_and_weigh_what_they_find() -> None:
    layer, feature = convolution(), torch.zeros(1, 2, 5, 7)
    feature[0, 1, 2, 3] = 1.0
    bias = layer.conv_offset.bias
    assert bias is not None
    with torch.no_grad():
        bias[2 * 4], bias[2 * 4 + 1] = 1.0, -1.0  # the middle one of nine looks one row down and one column to the left
        bias[18:] = -100.0
        bias[18 + 4] = 100.0  # and is the only one that counts
    found = layer(feature)[0]
    assert found.abs().sum(0).nonzero().tolist() == [[1, 4]]
    torch.testing.assert_close(found[:, 1, 4], layer.weight[:, 1, 1, 1])


def test_a_deformable_neck_has_the_shapes_of_a_plain_one_and_trains_its_offsets() -> None:
    neck = DeconvNeck(in_channels=[8], filters=(6, 4), deformable=True)
    maps = [torch.randn(2, 8, 3, 5)]
    (level,) = neck(maps)
    assert level.shape == DeconvNeck(in_channels=[8], filters=(6, 4))(maps)[0].shape == (2, 4, 12, 20)
    level.square().sum().backward()
    gradient = neck.get_parameter("layers.0.0.conv_offset.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_deformable_neck_works_in_half_precision(dtype: torch.dtype) -> None:
    neck = DeconvNeck(in_channels=[8], filters=(4,), deformable=True)
    with torch.autocast("cpu", dtype=dtype):
        (level,) = neck([torch.randn(1, 8, 3, 5).to(dtype)])
    assert level.isfinite().all()
