"""Annotation files of COCO and LVIS."""

import copy
import json
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

import numpy as np

from deta.data import read_coco
from deta.data.coco import CocoAnnotations
from scripts.fuzz.mutations import change_bytes, change_tree, deep, dump
from scripts.fuzz.trial import Case

_MAX_SIDE = 2**31 - 1
_MAX_AREA = 4
"""Times its box, above which an annotated area is an error of the file."""


def document() -> dict[str, Any]:
    """A sound file of COCO."""
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 40 + k, "width": 60 + k, "license": 1} for k in (3, 1, 2)]
    annotations: list[dict[str, Any]] = []
    for image_id in (1, 2):
        for n in (0, 1):
            box = [2.5 * n, 3, 10 + image_id, 7]
            row = {"id": 10 * image_id + n, "image_id": image_id, "category_id": 5 + n, "bbox": box}
            annotations.append({**row, "area": 70, "iscrowd": 0})
    crowd = {"id": 99, "image_id": 2, "category_id": 5, "bbox": [1, 1, 30, 30], "area": 900, "iscrowd": 1}
    return {
        "info": {"description": "sound"},
        "images": images,
        "annotations": [*annotations, crowd],
        "categories": [{"id": 6, "name": "cat", "supercategory": "animal"}, {"id": 5, "name": "ant"}],
    }


def lvis_document() -> dict[str, Any]:
    """A sound file of LVIS v1."""
    content = document()
    for row in content["images"]:
        row.pop("file_name")
        row |= {"coco_url": f"http://images.cocodataset.org/train2017/{row['id']}.jpg"}
        row |= {"neg_category_ids": [6] if row["id"] == 3 else [], "not_exhaustive_category_ids": []}
    for row in content["annotations"]:
        row.pop("iscrowd")
    for row in content["categories"]:
        row |= {"frequency": "r", "image_count": 1, "instance_count": 2, "synset": "x.n.01"}
    return content


class Annotations:
    """Wrong types, missing and doubled keys, huge numbers, depth, and broken text."""

    name = "annotations"
    suffix = ".json"
    seconds = 20.0

    def make(self, random: Random) -> Case:
        """Sound annotations with values, keys or bytes changed."""
        layout = random.choice(("coco", "coco", "lvis"))
        tree = copy.deepcopy(_SOUND[layout])
        title, content = "sound", dump(tree)
        how = random.random()
        if how < 0.75:
            title = "; ".join(change_tree(tree, random) for _ in range(random.choice((1, 1, 1, 2, 3))))
            content = dump(tree)
        elif how < 0.9:
            title, content = change_bytes(content, random)
        elif how < 0.94:
            key = random.choice(list(tree))
            title, content = f"doubled {key}", content[:-1] + b"," + dump({key: tree[key]})[1:]
        elif how < 0.96:
            key = random.choice(list(tree))
            title, content = f"deep {key}", content[:-1] + b',"' + key.encode() + b'":' + deep(random) + b"}"
        elif how < 0.99:
            coding = random.choice(("utf-8-sig", "utf-16", "latin-1"))
            title, content = coding, content.decode().encode(coding)
        return Case(f"{layout}: {title}", content)

    def check(self, path: Path, case: Case) -> str | None:
        """Read them, and compare what was accepted with the text."""
        layout = "lvis" if case.title.startswith("lvis") else "coco"
        read = read_coco(path, layout=layout)  # type: ignore[arg-type]
        return disagreement(read, case.content, layout)


_SOUND = {"coco": document(), "lvis": lvis_document()}


def disagreement(read: CocoAnnotations, content: bytes, layout: str) -> str | None:
    """What was accepted and should not have been, or was read otherwise than it stands there."""
    doubled: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items) and {"images", "annotations", "categories"} & found.keys():
            doubled.append("a key of the file")
        return found

    try:
        tree = json.loads(content, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        return f"accepted what json does not read: {error}"
    if doubled:
        return "accepted a doubled key at the top"
    names = [row["file_name"] if layout == "coco" else row["coco_url"] for row in tree["images"]]
    faults = [
        *_bad_names(tree["categories"], names),
        *_bad_numbers(tree, " ".join((read.report.summary(), *read.report.doubts))),
    ]
    return faults[0] if faults else _other_content(read, tree)


def _bad_names(categories: list[Any], file_names: list[Any]) -> list[str]:
    faults = []
    for name in [row["name"] for row in categories] + file_names:
        if not isinstance(name, str) or not name.strip():
            faults.append(f"accepted the name {name!r:.40}")
        elif any(0xD800 <= ord(letter) < 0xE000 for letter in name):
            faults.append("accepted a name with half a letter")
    for name in file_names:
        if str(name).startswith("/") or ".." in PurePosixPath(str(name)).parts:
            faults.append(f"accepted a file outside its folder: {name!r:.40}")
    return faults


def _bad_numbers(tree: dict[str, Any], told: str) -> list[str]:
    faults = [
        f"accepted an image of {row['height']!r:.20} x {row['width']!r:.20}"
        for row in tree["images"]
        if max(row["height"], row["width"]) > _MAX_SIDE
    ]
    for row in tree["annotations"]:
        crowd = row.get("iscrowd", 0)
        if type(crowd) is not int or crowd not in (0, 1):
            faults.append(f"accepted iscrowd {crowd!r:.20}")
        _, _, width, height = row["bbox"]
        if (
            row.get("area") is not None
            and row["area"] > _MAX_AREA * width * height > 0
            and "an area of more than" not in told
        ):
            faults.append(f"accepted an area of {row['area']!r:.20} for a box of {width!r:.20} x {height!r:.20}")
    return faults


def _other_content(read: CocoAnnotations, tree: dict[str, Any]) -> str | None:
    images = sorted(tree["images"], key=lambda row: row["id"])
    if read.image_ids.tolist() != [row["id"] for row in images]:
        return "other image ids"
    if read.sizes.tolist() != [[row["height"], row["width"]] for row in images]:
        return "other image sizes"
    labels = {row["id"]: index for index, row in enumerate(sorted(tree["categories"], key=lambda row: row["id"]))}
    expected: dict[int, tuple[Any, ...]] = {}
    for row in tree["annotations"]:
        image = next(one for one in images if one["id"] == row["image_id"])
        left, top, width, height = (float(number) for number in row["bbox"])
        box = np.array([left, top, left + width, top + height])
        clipped = np.clip(box, 0, [image["width"], image["height"]] * 2).astype(np.float32)
        if min(box.astype(np.float32)[2:] - box.astype(np.float32)[:2]) > 0 and min(clipped[2:] - clipped[:2]) > 0:
            expected[row["id"]] = (
                row["image_id"],
                labels[row["category_id"]],
                row.get("iscrowd", 0),
                *clipped.tolist(),
            )
    owners = np.repeat(read.image_ids, np.diff(read.offsets))
    rows = zip(owners.tolist(), read.labels.tolist(), read.is_crowd.tolist(), read.boxes.tolist(), strict=True)
    found = {
        identity: (owner, label, int(crowd), *box)
        for identity, (owner, label, crowd, box) in zip(read.annotation_ids.tolist(), rows, strict=True)
    }
    return None if found == expected else "other boxes"
