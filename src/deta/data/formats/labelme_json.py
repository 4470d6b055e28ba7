"""One annotation file of LabelMe: JSON with shapes in pixels and, often, the picture itself as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from deta.data.formats.records import Fault
from deta.data.image_rows import Side
from deta.data.json_file import kind_of, read_members
from deta.data.rows import Number

_NEEDED = ("shapes", "imagePath")
_READ = (*_NEEDED, "imageData", "imageHeight", "imageWidth")
_READ_OF_SHAPE = ("label", "points", "shape_type", "group_id", "mask")
_EMPTY: tuple[object, ...] = (None, "", {}, [])


class Shape(Struct):
    """A shape, checked.

    Attributes:
        label: Its class.
        points: ``x, y`` in pixels.
        shape_type: ``polygon``, ``rectangle``, ``circle``, ``mask``, or one without an area.
        group_id: Shapes of one label with the same one are one object.
        mask: PNG of a mask, as text in base 64.
    """

    label: Annotated[str, Meta(pattern=r"\S")]
    points: list[tuple[Number, Number]]
    shape_type: str = "polygon"  # the first versions had no other and did not say so
    group_id: int | str | None = None
    mask: str | None = None


@dataclass(frozen=True, slots=True)
class LabelMeFile:
    """An annotation file.

    Attributes:
        path: Of the image, from the file.
        size: ``(height, width)`` in pixels; None where the file does not say.
        shapes: Checked, each with all else that is said of it and is not empty.
        picture: The image file in base 64; None where there is none.
        attributes: All else that is said of the image and is not empty.
    """

    path: str
    size: tuple[int, int] | None
    shapes: list[tuple[Shape, dict[str, Any]]]
    picture: Raw | None
    attributes: dict[str, Any]


def read_labelme_json(path: Path, *, name: str, fault: Fault) -> LabelMeFile | None:
    """Parse an annotation file.

    Args:
        path: The file.
        name: What messages call it.
        fault: Told kind and place of everything that cannot be read.

    Returns:
        None if it is JSON of something else, or none.
    """
    try:
        members = read_members(path)
    except ValueError as error:
        fault("file that is not a JSON object", str(error))
        return None
    if not members.keys() >= set(_NEEDED):
        return None
    try:
        rows = msgspec.json.decode(members["shapes"], type=list[dict[str, Any]])
        image_path = msgspec.json.decode(members["imagePath"], type=str)
        attributes = {key: msgspec.json.decode(value) for key, value in members.items() if key not in _READ}
    except (msgspec.DecodeError, RecursionError) as error:
        fault("file whose shapes are not a list of objects, or whose imagePath is not a text", f"{name}: {error}")
        return None
    picture = members.get("imageData")
    return LabelMeFile(
        path=image_path,
        size=_size(members, name, fault),
        shapes=[shape for place, row in enumerate(rows) if (shape := _shape(row, f"{name}, shape {place}", fault))],
        picture=picture if picture is not None and kind_of(picture) == "a string" else None,
        attributes=_not_empty(attributes),
    )


def _shape(row: dict[str, Any], place: str, fault: Fault) -> tuple[Shape, dict[str, Any]] | None:
    try:
        shape = msgspec.convert(row, Shape)
    except msgspec.ValidationError as error:
        fault("shape that is not as LabelMe writes it", f"{place}: {error}")
        return None
    others = {key: value for key, value in row.items() if key not in _READ_OF_SHAPE}
    return shape, _not_empty(others)


def _size(members: Mapping[str, Raw], name: str, fault: Fault) -> tuple[int, int] | None:
    sides = [members.get(key) for key in ("imageHeight", "imageWidth")]
    if any(side is None or kind_of(side) == "null" for side in sides):
        return None
    try:
        height, width = (msgspec.json.decode(side, type=Side) for side in sides if side is not None)
    except msgspec.DecodeError as error:
        fault("imageHeight or imageWidth that is no number of pixels", f"{name}: {error}")
        return None
    return height, width


def _not_empty(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in _EMPTY}
