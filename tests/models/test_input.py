"""How pixels enter a network."""

import pytest
import torch
from torch import Tensor

from deta.models import InputConvention


def picture() -> tuple[Tensor, Tensor]:
    """One red pixel of full brightness and one that is padding."""
    pixels = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    return pixels, torch.tensor([[[False, True]]])


def entered(convention: InputConvention, size: tuple[int, int] = (1, 2)) -> Tensor:
    pixels, _ = convention(*picture(), size)
    assert isinstance(pixels, Tensor)
    return pixels


def test_mean_colour_becomes_zero() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    torch.testing.assert_close(InputConvention().normalise(mean), torch.zeros(1, 3, 1, 1))


def test_bytes_and_fractions_are_the_same_image() -> None:
    pixels, is_padding = picture()
    for convention in (InputConvention(), InputConvention(scale=255, order="bgr", mean=(1, 2, 3), std=(4, 5, 6))):
        fractions = convention(pixels / 255, is_padding, (1, 2))[0]
        torch.testing.assert_close(convention(pixels, is_padding, (1, 2))[0], fractions)


def test_mean_and_deviation_are_in_the_order_and_range_of_the_network() -> None:
    convention = InputConvention(order="bgr", scale=255.0, mean=(1.0, 2.0, 55.0), std=(1.0, 2.0, 100.0))
    assert entered(convention)[0, :, 0, 0].tolist() == [-1.0, -1.0, 2.0]


def test_what_is_padding_and_what_is_padded_has_the_value_after_the_normalisation() -> None:
    convention = InputConvention(pad_value=7.0)
    pixels, is_padding = convention(*picture(), (2, 3))
    assert pixels.shape == (1, 3, 2, 3)
    assert is_padding.tolist() == [[[False, True, True], [True, True, True]]]
    assert (pixels[:, :, is_padding[0]] == 7).all()
    assert (pixels[0, :, 0, 0] != 7).all()


@pytest.mark.parametrize(("side", "expected"), [(1, 32), (32, 32), (33, 64)])
def test_sides_are_multiples(side: int, expected: int) -> None:
    assert InputConvention(multiple=32).padded_side(side) == expected
    assert InputConvention().padded_side(side) == side


def test_channels_come_last_in_memory() -> None:
    assert entered(InputConvention(), (4, 4)).is_contiguous(memory_format=torch.channels_last)


def test_it_has_nothing_to_store() -> None:
    convention = InputConvention()
    assert convention.state_dict() == {}
    assert list(convention.parameters()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "grb"}, "input.order must be one of bgr, rgb, got 'grb'"),
        ({"scale": 0}, "input.scale"),
        ({"mean": [0.5]}, "input.mean must have three numbers"),
        ({"std": [1, 0, 1]}, "input.std"),
        ({"multiple": 0}, "input.multiple must be at least 1, got 0"),
    ],
)
def test_other_values_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InputConvention(**options)  # type: ignore[arg-type]
