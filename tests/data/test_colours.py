"""Colours move as they should, against the conversion of the standard library."""

import colorsys

import pytest
import torch
from torch import Generator

from deta.data import ColourShift
from deta.data.colours import shifted
from tests.data.folders import sample


def pixels(count: int = 400) -> torch.Tensor:
    """``[3, count, 1]`` of all kinds, grey and pure ones among them."""
    drawn = torch.randint(0, 256, (3, count, 1), generator=Generator().manual_seed(0), dtype=torch.uint8)
    drawn[:, :4, 0] = torch.tensor([[0, 255, 90, 255], [0, 255, 90, 0], [0, 255, 90, 0]], dtype=torch.uint8)
    return drawn


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (-0.1, 0.2, -0.2), (0.05, -1.0, 0.9)], ids=str)
def test_a_shift_is_that_of_hue_saturation_and_brightness(shift: tuple[float, float, float]) -> None:
    before = pixels()
    expected = []
    for pixel in before[:, :, 0].T.tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
        moved = (hue + shift[0]) % 1, min(max(saturation + shift[1], 0), 1), min(max(value + shift[2], 0), 1)
        expected.append([255 * channel for channel in colorsys.hsv_to_rgb(*moved)])
    found = shifted(before, torch.tensor(shift))[:, :, 0].T
    assert (found.float() - torch.tensor(expected)).abs().max() < 0.51  # rounding
    if not any(shift):
        assert torch.equal(shifted(before, torch.zeros(3)), before)


def test_a_generator_decides_and_boxes_stay() -> None:
    before = sample(20, 30, [[2, 3, 10, 9]])
    first, second, other = (ColourShift()(before, Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.image, second.image)
    assert not torch.equal(first.image, other.image)
    assert torch.equal(first.boxes, before.boxes)


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(ValueError, match=r"hue must be in \[0, 0.5\], got 0.7"):
        ColourShift(hue=0.7)
