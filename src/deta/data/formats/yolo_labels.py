"""The rows of a label file of YOLO: boxes, polygons and key points, as shares of the image's width and height."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deta.data.formats.records import Fault, ForeignObject, outline_area, outline_box

SLACK = 0.01
"""Share of the image by which a number may leave 0..1, as Ultralytics' own reader allows: it is rounding then."""
_SMALLEST_POLYGON = 6
"""Numbers of a triangle."""


@dataclass(frozen=True)
class KeyPoints:
    """Points that every object of a data set has.

    Attributes:
        number: How many.
        dims: Numbers of each: 2, or 3 with a visibility as in COCO.
    """

    number: int
    dims: int

    @property
    def num_values(self) -> int:
        """Numbers of all of them in a row."""
        return self.number * self.dims


def read_rows(
    text: str,
    *,
    name: str,
    size: tuple[int, int],
    classes: Collection[int | str],
    key_points: KeyPoints | None,
    fault: Fault,
) -> list[ForeignObject]:
    """The objects of a label file.

    A row of five numbers is a box (class, centre, width, height), a longer one a polygon of at least three corners, as
    rotated boxes are. In a data set with key points every row is a box with its points.

    Args:
        text: The file.
        name: What messages call it.
        size: ``(height, width)`` of the upright image in pixels.
        classes: Class numbers that there are.
        key_points: Of the data set.
        fault: Told the kind and place of each row that cannot be read.
    """
    objects = []
    for row, words in _rows(text):
        place = f"{name}, line {row}"
        try:
            label, *values = [float(word) for word in words]
        except ValueError:
            fault("row that is not numbers", f"{place}: {' '.join(words)}")
            continue
        if label not in classes:
            fault("class number that is not among the names", f"{place}: {words[0]}")
            continue
        if kind := _fault_of(values, key_points):
            fault(kind, f"{place}: {' '.join(words)}")
            continue
        objects.append(_object(int(label), values, size, key_points))
    return objects


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            yield number, words


def _fault_of(values: Sequence[float], key_points: KeyPoints | None) -> str:
    """What is wrong with the numbers behind the class; empty if nothing is."""
    num = len(values)
    if key_points is not None:
        if num != 4 + key_points.num_values:
            return f"row that has not {5 + key_points.num_values} numbers, as kpt_shape says"
        points = values[4:]
        if key_points.dims == 3 and not all(visibility in (0, 1, 2) for visibility in points[2::3]):
            return "row with a key point whose visibility is not 0, 1 or 2"
        positions = (value for place, value in enumerate(points) if place % key_points.dims < 2)
        coordinates: Sequence[float] = [*values[:4], *positions]
    else:
        if num == 5:
            return "row of six numbers: a detection with its score? Labels are a class and 4, or at least 6, numbers"
        if num < 4 or (num > 4 and (num % 2 or num < _SMALLEST_POLYGON)):
            return "row that is neither a box of 4 numbers behind the class nor a polygon of at least 3 points"
        coordinates = values
    if not all(-SLACK <= value <= 1 + SLACK for value in coordinates):
        return "row with a number outside of 0..1: boxes are shares of the image, not pixels"
    return ""


def _object(label: int, values: Sequence[float], size: tuple[int, int], key_points: KeyPoints | None) -> ForeignObject:
    height, width = size
    if len(values) > 4 and key_points is None:
        polygon = [value * (height if place % 2 else width) for place, value in enumerate(values)]
        return ForeignObject(label, outline_box([polygon]), outline_area([polygon]), [polygon])
    across, down, wide, high = values[0] * width, values[1] * height, values[2] * width, values[3] * height
    fields = {} if key_points is None else _key_point_fields(values[4:], size, key_points)
    return ForeignObject(label, (across - wide / 2, down - high / 2, wide, high), wide * high, fields=fields)


def _key_point_fields(values: Sequence[float], size: tuple[int, int], key_points: KeyPoints) -> dict[str, Any]:
    """Key points as COCO has them; without a visibility those at 0, 0 are none, as Ultralytics takes them."""
    height, width = size
    points: list[float] = []
    for first in range(0, len(values), key_points.dims):
        x, y = values[first : first + 2]
        is_there = x != 0 or y != 0
        visibility = int(values[first + 2]) if key_points.dims == 3 else 2 * is_there
        points += [x * width, y * height, visibility]
    return {"keypoints": points, "num_keypoints": sum(visibility > 0 for visibility in points[2::3])}
