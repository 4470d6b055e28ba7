"""Parts of an annotation file: rows are copied as they are written, with all fields that they have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from deta.data.json_file import elements, read_members, require_lists
from deta.data.rows import Id


class _Image(Struct, gc=False):
    id: Id


class _Annotation(Struct, gc=False):
    image_id: Id


def parted_documents(path: Path, part_of: Mapping[int, str]) -> dict[str, bytes]:
    """The annotation file of every part, as JSON: its images and their annotations, and all else of the whole.

    Args:
        path: A file that ``read_coco`` accepts.
        part_of: Name of the part of every image id.
    """
    members = read_members(path)
    (images,) = require_lists(path, members, ("images",))
    annotations = elements(members["annotations"]) or []
    of_image, of_annotation = msgspec.json.Decoder(_Image), msgspec.json.Decoder(_Annotation)
    rows: dict[str, dict[str, list[Raw]]] = {
        part: {"images": [], "annotations": []} for part in dict.fromkeys(part_of.values())
    }
    for row in images:
        rows[part_of[of_image.decode(row).id]]["images"].append(row)
    for row in annotations:
        rows[part_of[of_annotation.decode(row).image_id]]["annotations"].append(row)
    return {part: msgspec.json.encode({**members, **lists}) for part, lists in rows.items()}


def image_fields(path: Path, field: str) -> dict[int, Any]:
    """A field of every image, by image id.

    Raises:
        ValueError: An image has no such field.
    """
    (images,) = require_lists(path, read_members(path), ("images",))
    found = {}
    for row in images:
        content = msgspec.json.decode(row, type=dict[str, Any])
        if content.get(field) is None:
            known = ", ".join(content)
            raise ValueError(f"{path}: image {content['id']} has no field {field!r}; it has {known}")
        found[content["id"]] = content[field]
    return found
