"""Assigned boxes, seen through single pixels."""

import torch

from deta.drawing.assignment import draw_assigned
from deta.drawing.boxes import class_colour
from deta.structures import Matches, Prediction
from tests.drawing.test_boxes import pixel, scene

REFERENCES = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.6, 0.6], [0.2, 0.2, 0.1, 0.1]]])


def draw(owners: list[int]) -> torch.Tensor:
    """The scene with its one object, in the middle, and three references, as drawn below the title."""
    batch, _ = scene()
    prediction = Prediction(torch.zeros(1, 3, 1), REFERENCES, REFERENCES)
    matches = Matches(torch.tensor([owners]))
    picture = draw_assigned(batch, prediction, matches, 0, names=["cat", "dog"], title="stage")
    return picture[:, picture.shape[1] - 400 :]


def has_line(picture: torch.Tensor, x: int, y: int) -> bool:
    """Whether the colour of the first object is there, give or take a pixel of rounding."""
    return class_colour(0) in [pixel(picture, x + shift, y) for shift in (-1, 0, 1)]


def test_the_boxes_of_an_object_have_its_colour_and_the_others_are_not_drawn() -> None:
    picture = draw([0, -1, -2])
    assert has_line(picture, 200, 200)  # the object itself, 100 pixels wide
    assert has_line(picture, 150, 260)  # the first reference, 200 pixels wide
    assert not has_line(picture, 100, 260)  # the second, 300 pixels wide
    assert not has_line(picture, 75, 80)
    assert has_line(draw([0, 0, -1]), 100, 260)


def test_an_object_without_a_box_is_drawn_alone() -> None:
    picture = draw([-1, -1, -1])
    assert has_line(picture, 200, 200)
    assert not has_line(picture, 150, 260)
    assert not torch.equal(picture, draw([0, -1, -1]))
