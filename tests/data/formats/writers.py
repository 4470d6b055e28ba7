"""Data sets of COCO written in other formats, as their own tools write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import yaml

Document = Mapping[str, Any]


def objects_of(document: Document, image_id: int) -> list[Any]:
    """The annotations of an image."""
    return [each for each in document["annotations"] if each["image_id"] == image_id]


def write_yolo(root: Path, split: str, document: Document, *, names: object = None) -> None:
    """Labels of images below ``images/<split>``, polygons where there are any, and ``data.yaml``."""
    categories = sorted(document["categories"], key=lambda each: int(each["id"]))
    numbers = {each["id"]: number for number, each in enumerate(categories)}
    for image in document["images"]:
        path = root / "labels" / split / Path(image["file_name"]).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        sides = (image["width"], image["height"])
        rows = []
        for each in objects_of(document, image["id"]):
            x, y, width, height = each["bbox"]
            values = [x + width / 2, y + height / 2, width, height]
            if each.get("segmentation"):
                values = each["segmentation"][0]
            shares = [repr(value / sides[place % 2]) for place, value in enumerate(values)]
            rows.append(" ".join([str(numbers[each["category_id"]]), *shares]))
        path.write_text("".join(f"{row}\n" for row in rows))
    known = [each["name"] for each in categories]
    splits = {path.name: f"images/{path.name}" for path in (root / "labels").iterdir()}
    content = {"path": "../somewhere", **splits, "names": names or known}
    (root / "data.yaml").write_text(yaml.safe_dump(content))


def write_voc(root: Path, split: str, document: Document, *, origin: int = 1) -> None:
    """XML files in ``Annotations``, and the list of the split; attributes of an annotation become elements."""
    names = {each["id"]: each["name"] for each in document["categories"]}
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for image in document["images"]:
        top = Element("annotation")
        SubElement(top, "folder").text = "VOC"
        SubElement(top, "filename").text = image["file_name"]
        size = SubElement(top, "size")
        for side in ("width", "height"):
            SubElement(size, side).text = str(image[side])
        SubElement(size, "depth").text = "3"
        for each in objects_of(document, image["id"]):
            element = SubElement(top, "object")
            SubElement(element, "name").text = names[each["category_id"]]
            for key, value in each.get("attributes", {}).items():
                SubElement(element, key).text = str(value)
            x, y, width, height = each["bbox"]
            box = SubElement(element, "bndbox")
            sides = {"xmin": x + origin, "ymin": y + origin, "xmax": x + width, "ymax": y + height}
            for side, value in sides.items():
                SubElement(box, side).text = str(value)
        stem = Path(image["file_name"]).stem
        (root / "Annotations" / f"{stem}.xml").write_bytes(tostring(top))
    stems = [Path(image["file_name"]).stem for image in document["images"]]
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def write_labelme(root: Path, split: str, document: Document) -> None:
    """JSON files beside the images, polygons where there are any, and rectangles."""
    names = {each["id"]: each["name"] for each in document["categories"]}
    for image in document["images"]:
        shapes = []
        for each in objects_of(document, image["id"]):
            x, y, width, height = each["bbox"]
            polygons = each.get("segmentation") or [[x + width, y + height, x, y]]
            group = each["id"] if len(polygons) > 1 else None
            for polygon in polygons:
                kind = "polygon" if each.get("segmentation") else "rectangle"
                points = [list(point) for point in zip(polygon[0::2], polygon[1::2], strict=True)]
                shapes.append(shape(names[each["category_id"]], points, kind, group_id=group))
        content = labelme_content(shapes, image["file_name"], image["height"], image["width"])
        path = root / split / Path(image["file_name"]).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def shape(label: str, points: Sequence[Sequence[Any]], kind: str, **changes: object) -> dict[str, Any]:
    """A shape as labelme 5 writes it."""
    entry: dict[str, Any] = {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind}
    return {**entry, "flags": {}, "mask": None, **changes}


def labelme_content(shapes: Sequence[Any], name: str, height: int = 30, width: int = 40, **changes: object) -> Any:  # noqa: ANN401 - JSON
    """An annotation file as labelme 5 writes it."""
    content: dict[str, Any] = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": name}
    return {**content, "imageData": None, "imageHeight": height, "imageWidth": width, **changes}
