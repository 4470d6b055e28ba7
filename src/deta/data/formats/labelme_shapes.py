"""Shapes of LabelMe as objects: outline, box and area of each, those of one group together."""

import binascii
import io
import math
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as masks

from deta.data.decoding import ImageError, load_image
from deta.data.formats.labelme_json import Shape
from deta.data.formats.records import Fault, ForeignObject, outline_area, outline_box

CORNERS = 64
"""Of the polygon that stands for a circle, whose points stay among the attributes."""
_POLYGONS = ("polygon", "rotation", "oriented_rectangle")
"""X-AnyLabeling and newer versions call a rotated rectangle so."""
Told = tuple[Shape, dict[str, Any]]


def objects_of(
    shapes: Sequence[Told], *, size: tuple[int, int], place: str, difficult_is_crowd: bool, fault: Fault
) -> tuple[list[ForeignObject], list[Shape]]:
    """The objects that shapes stand for.

    Args:
        shapes: Of one image, each with what else is said of it.
        size: ``(height, width)`` of the image in pixels.
        place: What messages call the image.
        difficult_is_crowd: Whether a shape marked ``difficult``, as X-AnyLabeling does, counts neither as found nor as
            missed.
        fault: Told of masks that cannot be read.

    Returns:
        The objects, and the shapes that are none since they have no area.
    """
    groups: dict[object, list[Told]] = {}
    others = []
    for position, (shape, said) in enumerate(shapes):
        if not _has_area(shape):
            others.append(shape)
            continue
        key = position if shape.group_id is None else (shape.label, shape.group_id)
        groups.setdefault(key, []).append((shape, said))
    made = [_object(group, size, place, difficult_is_crowd, fault) for group in groups.values()]
    return [each for each in made if each is not None], others


def _has_area(shape: Shape) -> bool:
    num = len(shape.points)
    if shape.shape_type in _POLYGONS:
        return num >= 3
    if shape.shape_type == "rectangle":
        return num in (2, 4)
    return num == 2 and (shape.shape_type == "circle" or (shape.shape_type == "mask" and shape.mask is not None))


def _object(
    group: Sequence[Told], size: tuple[int, int], place: str, difficult_is_crowd: bool, fault: Fault
) -> ForeignObject | None:
    shapes = [shape for shape, _ in group]
    attributes = [_attributes(shape, said) for shape, said in group]
    told: dict[str, Any] = attributes[0] if len(group) == 1 else {"shapes": attributes}
    if shapes[0].group_id is not None:
        told = {"group_id": shapes[0].group_id, **told}
    is_crowd = difficult_is_crowd and all(said.get("difficult") is True for _, said in group)
    label = shapes[0].label
    if any(shape.shape_type == "mask" for shape in shapes):
        try:
            code = masks.merge([_code(shape, size) for shape in shapes])
        except ValueError as error:
            fault("mask that cannot be read", f"{place} ({label}): {error}")
            return None
        left, top, width, height = masks.toBbox(code).tolist()
        segmentation = {"size": list(size), "counts": code["counts"].decode()}
        fields = {"segmentation": segmentation}
        return ForeignObject(label, (left, top, width, height), float(masks.area(code)), [], is_crowd, fields, told)
    outline = [_outline(shape) for shape in shapes]
    box = outline_box(outline)
    if len(shapes) == 1 and shapes[0].shape_type == "rectangle":
        return ForeignObject(label, box, box[2] * box[3], [], is_crowd, {}, told)
    return ForeignObject(label, _exact_box(shapes, box), outline_area(outline), outline, is_crowd, {}, told)


def _attributes(shape: Shape, said: dict[str, Any]) -> dict[str, Any]:
    points = {"points": shape.points} if shape.shape_type == "circle" else {}
    return {"shape_type": shape.shape_type, **points, **said}


def _outline(shape: Shape) -> list[float]:
    """``[x0, y0, x1, y1, ...]`` of what is no mask."""
    if shape.shape_type == "circle":
        (x, y), radius = shape.points[0], _radius(shape)
        turns = [2 * math.pi * k / CORNERS for k in range(CORNERS)]
        return [value for turn in turns for value in (x + radius * math.cos(turn), y + radius * math.sin(turn))]
    if shape.shape_type == "rectangle":
        x, y, width, height = outline_box([_flat(shape)])
        return [x, y, x + width, y, x + width, y + height, x, y + height]
    return _flat(shape)


def _exact_box(shapes: Sequence[Shape], box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The box around the outline; of a circle alone that of the circle itself."""
    if len(shapes) > 1 or shapes[0].shape_type != "circle":
        return box
    (x, y), radius = shapes[0].points[0], _radius(shapes[0])
    return x - radius, y - radius, 2 * radius, 2 * radius


def _radius(shape: Shape) -> float:
    return math.dist(shape.points[0], shape.points[1])


def _flat(shape: Shape) -> list[float]:
    return [value for point in shape.points for value in point]


def _code(shape: Shape, size: tuple[int, int]) -> dict[str, Any]:
    """A shape as a mask in COCO's code.

    Raises:
        ValueError: The mask is no picture, or does not fit its corners or the image.
    """
    height, width = size
    if shape.shape_type != "mask":
        code: dict[str, Any] = masks.frPyObjects([_outline(shape)], height, width)[0]
        return code
    part = _mask_pixels(shape, max_pixels=height * width)
    left, top = (round(min(point[axis] for point in shape.points)) for axis in (0, 1))
    if left < 0 or top < 0 or top + part.shape[0] > height or left + part.shape[1] > width:
        raise ValueError(f"its {part.shape[0]} x {part.shape[1]} pixels from ({left}, {top}) on leave the image")
    whole = np.zeros((height, width), dtype=np.uint8, order="F")
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    encoded: dict[str, Any] = masks.encode(whole)
    return encoded


def _mask_pixels(shape: Shape, *, max_pixels: int) -> NDArray[np.bool_]:
    try:
        content = b64decode(shape.mask or "", validate=True)
    except binascii.Error as error:
        raise ValueError(f"it is not text in base 64: {error}") from error
    try:
        picture = load_image(io.BytesIO(content), name="of the mask", max_pixels=max_pixels).image
    except ImageError as error:
        raise ValueError(str(error)) from error
    return np.asarray(picture.convert("L")) > 0
