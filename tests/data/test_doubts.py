"""What the numbers of boxes betray."""

import numpy as np
import pytest
from numpy.typing import NDArray

from deta.data.doubts import box_doubts

NUM = 40


def sound(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Boxes ``xywh`` all over images of 640 x 480, and ``(height, width)`` of each."""
    generator = np.random.default_rng(seed)
    low = generator.uniform((0, 0), (560, 400), (NUM, 2))
    sides = generator.uniform(8, 80, (NUM, 2))
    return np.concatenate((low, sides), axis=1), np.tile([480, 640], (NUM, 1))


def doubts(boxes: NDArray[np.float64], sizes: NDArray[np.int64], areas: NDArray[np.float64] | None = None) -> str:
    return "\n".join(box_doubts(boxes, sizes, boxes[:, 2:].prod(axis=1) if areas is None else areas))


@pytest.mark.parametrize("seed", range(20))
def test_sound_boxes_raise_no_doubt(seed: int) -> None:
    boxes, sizes = sound(seed)
    assert doubts(boxes, sizes) == ""
    assert doubts(boxes[:1], sizes[:1]) == ""
    assert doubts(boxes, sizes, 0.4 * boxes[:, 2:].prod(axis=1)) == ""


def test_no_boxes_and_boxes_without_area_raise_no_doubt() -> None:
    assert doubts(np.zeros((0, 4)), np.zeros((0, 2), dtype=np.int64)) == ""
    assert doubts(np.zeros((3, 4)), np.full((3, 2), 100)) == ""


def test_a_large_object_in_the_corner_is_not_taken_for_two_corners() -> None:
    assert doubts(np.array([[10.0, 10.0, 600.0, 400.0]]), np.array([[480, 640]])) == ""


def test_normalised_boxes_are_seen() -> None:
    boxes, sizes = sound()
    assert "40 of 40 boxes have no number above 1: they look normalised" in doubts(boxes / [640, 480, 640, 480], sizes)
    mixed = boxes.copy()
    mixed[:3] /= [640, 480, 640, 480]
    assert "3 of 40 boxes" in doubts(mixed, sizes)


def test_per_cent_are_seen_unless_the_images_are_small() -> None:
    boxes, sizes = sound()
    per_cent = 100 * boxes / [640, 480, 640, 480]
    assert "per cent" in doubts(per_cent, sizes)
    assert doubts(per_cent, np.full_like(sizes, 100)) == ""


def test_corners_are_seen_by_where_they_end_or_by_their_areas() -> None:
    boxes, sizes = sound()
    corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)
    assert "two corners [x0, y0, x1, y1]" in doubts(corners, sizes)
    near = np.concatenate((corners[:, :2] / 4, corners[:, 2:] / 4), axis=1)  # none would reach beyond
    assert doubts(near, sizes) == ""
    areas = (near[:, 2:] - near[:, :2]).prod(axis=1)
    assert "two corners [x0, y0, x1, y1] (their areas say so)" in doubts(near, sizes, areas)


def test_centres_are_seen() -> None:
    generator = np.random.default_rng(0)
    sides = generator.uniform(8, 200, (NUM, 2))
    centres = generator.uniform(sides / 2, np.array([640, 480]) - sides / 2)
    assert "[centre x, centre y, width, height]" in doubts(np.concatenate((centres, sides), axis=1), sound()[1])


def test_exchanged_height_and_width_are_seen() -> None:
    boxes, sizes = sound()
    assert "height and width of the images look exchanged" in doubts(boxes, sizes[:, ::-1])


def test_boxes_of_larger_images_are_seen() -> None:
    boxes, sizes = sound()
    assert "reach beyond their image: look whether" in doubts(2 * boxes, sizes)


def test_areas_beyond_their_box_and_of_nothing_are_counted() -> None:
    boxes, sizes = sound()
    areas = boxes[:, 2:].prod(axis=1)
    areas[:3] *= 5
    areas[3:5] = 0
    text = doubts(boxes, sizes, areas)
    assert "3 annotations have an area of more than 2 times their box" in text
    assert "2 annotations have the area 0" in text
