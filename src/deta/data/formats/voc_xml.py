"""One annotation file of Pascal VOC: XML with a size and objects, each with a box."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from deta.data.formats.records import Fault

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("difficult", "truncated", "occluded")
_MARKS = {"1": 1, "true": 1, "yes": 1, "0": 0, "false": 0, "no": 0, "": 0}
"""By word; some programs write words, or nothing."""
_HIGHEST = 1e9
"""Largest number that is believed, in pixels."""
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class VocObject:
    """An object as the file has it.

    Attributes:
        name: Of its class.
        corners: ``xmin, ymin, xmax, ymax`` as numbers of pixels.
        polygons: ``[x1, y1, x2, y2, ...]`` as numbers of pixels.
        attributes: All else: flags as 0 or 1, other values as texts or what holds them.
    """

    name: str
    corners: tuple[float, float, float, float]
    polygons: list[list[float]]
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class VocFile:
    """An annotation file.

    Attributes:
        filename: Of the image, as it was called when it was annotated; empty where the file does not say.
        size: ``(height, width)`` in pixels; None where the file does not say, or says 0.
        objects: In file order.
        attributes: All else.
    """

    filename: str
    size: tuple[int, int] | None
    objects: list[VocObject]
    attributes: dict[str, Any]


def read_voc_xml(text: str, *, name: str, fault: Fault) -> VocFile | None:
    """Parse an annotation file; entities and document types, by which a short file becomes endless, are faults.

    Args:
        text: The file.
        name: What messages call it.
        fault: Told kind and place of everything that cannot be read.

    Returns:
        None if it is XML of something else, or none.
    """
    try:
        root = ElementTree.fromstring(text, forbid_dtd=True)
    except DefusedXmlException:
        fault("XML with a document type or entities, which are not read", name)
        return None
    except (ElementTree.ParseError, ValueError) as error:
        fault("file that is not XML", f"{name}: {error}")
        return None
    if root.tag != "annotation":
        return None
    if _is_deep(root):
        fault(f"XML of more than {_DEEPEST} levels", name)
        return None
    objects = [_object(element, f"{name}, object {k}", fault) for k, element in enumerate(root.findall("object"), 1)]
    return VocFile(
        filename=_text(root, "filename"),
        size=_size(root.find("size"), name, fault),
        objects=[each for each in objects if each is not None],
        attributes=_others(root, ("object", "size", "filename")) | _depth(root),
    )


def _object(element: "Element", place: str, fault: Fault) -> VocObject | None:
    name = _text(element, "name")
    box = element.find("bndbox")
    if not name:
        fault("object without a name", place)
        return None
    if box is None:
        fault("object without bndbox", f"{place} ({name})")
        return None
    if len(element.findall("bndbox")) > 1:
        fault("object with more than one bndbox", f"{place} ({name})")
        return None
    corners = [_number(box.find(side)) for side in _SIDES]
    xmin, ymin, xmax, ymax = corners
    if xmin is None or ymin is None or xmax is None or ymax is None:
        fault("object whose bndbox is not four numbers xmin, ymin, xmax, ymax", f"{place} ({name})")
        return None
    if xmax < xmin or ymax < ymin:
        fault("object whose xmax is below xmin, or ymax below ymin", f"{place} ({name}): {corners}")
        return None
    polygons = [_polygon(each, f"{place} ({name})", fault) for each in element.findall("polygon")]
    attributes = _others(element, ("name", "bndbox", "polygon"))
    for flag in _FLAGS:
        if flag in attributes:
            word = str(attributes[flag]).lower()
            if word not in _MARKS:
                fault(f"{flag} that is neither 0 nor 1", f"{place} ({name}): {word}")
                return None
            attributes[flag] = _MARKS[word]
    return VocObject(name, (xmin, ymin, xmax, ymax), [each for each in polygons if each], attributes)


def _polygon(element: "Element", place: str, fault: Fault) -> list[float]:
    """Points ``x1, y1, x2, y2, ...`` as Roboflow and supervision write them."""
    num = len(element) // 2
    points = [_number(element.find(f"{axis}{k}")) for k in range(1, num + 1) for axis in "xy"]
    numbers = [value for value in points if value is not None]
    if len(numbers) < len(points) or len(element) % 2 or num < 3:
        fault("polygon that is not at least three points x1, y1, x2, y2, ...", place)
        return []
    return numbers


def _size(element: "Element | None", name: str, fault: Fault) -> tuple[int, int] | None:
    sides = [_number(None if element is None else element.find(side)) for side in ("height", "width")]
    height, width = sides
    if not height or not width:
        return None
    if height != int(height) or width != int(width) or height < 0 or width < 0:
        fault("size that is not whole pixels", f"{name}: {sides}")
        return None
    return int(height), int(width)


def _depth(root: "Element") -> dict[str, str]:
    depth = _text(root, "size/depth")
    return {"depth": depth} if depth else {}


def _number(element: "Element | None") -> float | None:
    try:
        value = float((element.text or "") if element is not None else "")
    except ValueError:
        return None
    return value if abs(value) < _HIGHEST else None


def _text(element: "Element", path: str) -> str:
    return (element.findtext(path) or "").strip()


def _others(element: "Element", known: Sequence[str]) -> dict[str, Any]:
    """What is in an element beside what has been read."""
    groups: dict[str, list[Any]] = {}
    for child in element:
        if child.tag not in known:
            groups.setdefault(str(child.tag), []).append(_plain(child))
    found = {tag: values[0] if len(values) == 1 else values for tag, values in groups.items()}
    return found | {f"@{key}": value for key, value in element.attrib.items()}


def _plain(element: "Element") -> Any:  # noqa: ANN401 - whatever the file holds
    inner = _others(element, ())
    text = (element.text or "").strip()
    if not inner:
        return text
    return inner | ({"#text": text} if text else {})


def _is_deep(root: "Element") -> bool:
    level = [root]
    for _ in range(_DEEPEST):
        level = [child for element in level for child in element]
    return bool(level)
