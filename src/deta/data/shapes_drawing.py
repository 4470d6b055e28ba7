"""Drawing one synthetic photograph: textured shapes that overlap on a textured background."""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Pixels = NDArray[np.float32]
_Coordinates = NDArray[np.floating]

_HUE_SPREAD = 0.05
"""Standard deviation of an object's hue around that of its class (0..1 is the colour circle): neighbouring
classes overlap a little, so that colour helps but does not decide."""

_REACH = 1.45
"""A shape lies within this many radii of its centre: a square's corner at 1.13, stretched by 1.25."""


@dataclass(frozen=True)
class Drawing:
    """One image before it is written.

    Attributes:
        pixels: ``[h, w, 3]`` uint8.
        objects: Class index and visible mask ``[h, w]`` of every object that is worth annotating.
        crowds: Class index and visible mask of every cluster of small objects annotated as one.
    """

    pixels: NDArray[np.uint8]
    objects: list[tuple[int, Mask]]
    crowds: list[tuple[int, Mask]]


def _circle(x: _Coordinates, y: _Coordinates) -> Mask:
    return np.asarray(np.hypot(x, y) <= 1)


def _square(x: _Coordinates, y: _Coordinates) -> Mask:
    return np.asarray(np.maximum(np.abs(x), np.abs(y)) <= 0.8)


def _triangle(x: _Coordinates, y: _Coordinates) -> Mask:
    return np.asarray((y <= 0.6) & (y >= 1.75 * np.abs(x) - 1))


def _star(x: _Coordinates, y: _Coordinates) -> Mask:
    fifth = 2 * math.pi / 5
    angle = np.abs((np.arctan2(x, -y) + fifth / 2) % fifth - fifth / 2)
    # The edge runs straight from the tip (angle 0, radius 1) to the inner corner (half a fifth on, radius 0.42).
    inner_x, inner_y = 0.42 * math.cos(fifth / 2), 0.42 * math.sin(fifth / 2)
    along, across = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.sin(angle)
    return np.asarray(along * inner_y + across * (1 - inner_x) <= inner_y)


def _ring(x: _Coordinates, y: _Coordinates) -> Mask:
    radius = np.hypot(x, y)
    return np.asarray((radius <= 1) & (radius >= 0.55))


def _cross(x: _Coordinates, y: _Coordinates) -> Mask:
    shorter, longer = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return np.asarray((shorter <= 0.28) & (longer <= 1))


SHAPES: dict[str, Callable[[_Coordinates, _Coordinates], Mask]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
}
"""Every class, in class order, with the test whether points around the origin lie in it (radius about 1)."""


class Canvas:
    """An image under construction: later shapes hide earlier ones.

    Args:
        size: ``(height, width)`` in pixels.
        rng: Source of every random choice.
    """

    def __init__(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        self._size = size
        self._rng = rng
        self._pixels = _background(size, rng)
        self._owner = np.zeros(size, dtype=np.int32)
        self._full_area = [0]

    def add_shape(self, label: int, centre: tuple[float, float], radius: float) -> int:
        """Draw a shape of random turn, stretch, colour and texture; returns its number, from 1.

        Args:
            label: Class index.
            centre: ``(x, y)`` in pixels.
            radius: In pixels.
        """
        turn, stretch = self._rng.uniform(-0.35, 0.35), self._rng.uniform(0.8, 1.25)
        rows, columns = (
            slice(max(0, int(middle - _REACH * radius)), min(side, int(middle + _REACH * radius) + 1))
            for middle, side in zip(centre[::-1], self._size, strict=True)
        )
        x = ((np.arange(columns.start, columns.stop, dtype=np.float32) - centre[0]) / radius)[None]
        y = ((np.arange(rows.start, rows.stop, dtype=np.float32) - centre[1]) / radius)[:, None]
        along = (x * math.cos(turn) + y * math.sin(turn)) * stretch
        across = (y * math.cos(turn) - x * math.sin(turn)) / stretch
        mask = list(SHAPES.values())[label](along, across)
        self._pixels[rows, columns][mask] = self._fill(label, along, across)[mask]
        self._full_area.append(int(mask.sum()))
        self._owner[rows, columns][mask] = len(self._full_area) - 1
        return len(self._full_area) - 1

    def visible(self, *numbers: int) -> Mask:
        """``[h, w]`` pixels where one of these shapes is on top."""
        return np.isin(self._owner, numbers)

    def visible_share(self, number: int) -> float:
        """Part of a shape's pixels that nothing hides, 0..1; 0 for a shape without pixels."""
        return float((self._owner == number).sum() / max(1, self._full_area[number]))

    def finish(self) -> NDArray[np.uint8]:
        """``[h, w, 3]`` uint8 pixels with the noise of a camera."""
        noise = self._rng.normal(0, 5, (*self._size, 1)).astype(np.float32)
        pixels: NDArray[np.uint8] = np.clip(np.rint(self._pixels + noise), 0, 255).astype(np.uint8)
        return pixels

    def _fill(self, label: int, along: _Coordinates, across: _Coordinates) -> Pixels:
        hue = (label / len(SHAPES) + self._rng.normal(0, _HUE_SPREAD)) % 1
        colour = colorsys.hsv_to_rgb(hue, self._rng.uniform(0.55, 1), self._rng.uniform(0.6, 1))
        texture = self._rng.integers(3)
        if texture == 0:
            shade = 1 + 0.15 * along + 0.15 * across
        elif texture == 1:
            shade = 1 + 0.2 * np.sign(np.sin(self._rng.uniform(5, 9) * along))
        else:
            shade = 1 + self._rng.normal(0, 0.12, along.shape)
        return np.asarray(shade[..., None] * np.asarray(colour) * 255, dtype=np.float32)


def _background(size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Soft blotches of muted colour."""
    coarse = rng.uniform(-35, 35, (5, 5, 3)).astype(np.float32)
    rows, columns = (np.linspace(0, 4, side, dtype=np.float32) for side in size)
    blotches = _interpolate(_interpolate(coarse, rows).swapaxes(0, 1), columns).swapaxes(0, 1)
    return rng.uniform(70, 185) + rng.uniform(-15, 15, 3).astype(np.float32) + blotches


def _interpolate(values: Pixels, positions: NDArray[np.float32]) -> Pixels:
    below = np.minimum(positions.astype(np.int64), len(values) - 2)
    weight = (positions - below)[:, None, None]
    return np.asarray(values[below] * (1 - weight) + values[below + 1] * weight, dtype=np.float32)


def draw_image(size: tuple[int, int], rng: np.random.Generator) -> Drawing:
    """Draw one image; some have no object, some a crowd.

    Args:
        size: ``(height, width)`` in pixels.
        rng: Source of every random choice.
    """
    canvas = Canvas(size, rng)
    crowds: list[tuple[int, list[int]]] = []
    objects: list[tuple[int, int]] = []
    if rng.random() >= 0.04:
        if rng.random() < 0.06:
            crowds.append(_add_crowd(canvas, size, rng))
        objects = [_add_object(canvas, size, rng) for _ in range(rng.integers(1, 7))]
    return Drawing(
        pixels=canvas.finish(),
        objects=[(label, canvas.visible(n)) for label, n in objects if _is_worth_annotating(canvas, n)],
        crowds=[(label, canvas.visible(*numbers)) for label, numbers in crowds if canvas.visible(*numbers).any()],
    )


def _add_object(canvas: Canvas, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Radius by COCO's size groups: many small, most medium, some large."""
    low, high = ((7, 15), (18, 44), (60, 80))[rng.choice(3, p=(0.3, 0.5, 0.2))]
    radius = float(rng.uniform(low, high))
    margin = min(0.7 * radius, 0.45 * min(size))
    centre = (rng.uniform(margin, size[1] - margin), rng.uniform(margin, size[0] - margin))
    label = int(rng.integers(len(SHAPES)))
    return label, canvas.add_shape(label, centre, radius)


def _add_crowd(canvas: Canvas, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, list[int]]:
    label = int(rng.integers(len(SHAPES)))
    middle = (rng.uniform(35, size[1] - 35), rng.uniform(35, size[0] - 35))
    offsets = rng.uniform(-28, 28, (rng.integers(9, 16), 2))
    numbers = [canvas.add_shape(label, (middle[0] + x, middle[1] + y), float(rng.uniform(5, 9))) for x, y in offsets]
    return label, numbers


def _is_worth_annotating(canvas: Canvas, number: int) -> bool:
    return canvas.visible_share(number) >= 0.3 and int(canvas.visible(number).sum()) >= 30
