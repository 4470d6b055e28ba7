"""Two parts of BCCD for docs/finetune.md: 200 photographs of a newcomer, and others with fewer classes.

python -m scripts.finetune.bccd_parts <bccd> <folder> writes annotation files; images stay where they are.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

NUM_NEW, NUM_VAL, NUM_VAL_BEFORE = 200, 40, 12
UNKNOWN_BEFORE = "Platelets"


def main(source: Path, target: Path) -> None:
    """Write ``mine_train.json`` and ``mine_val.json``, and ``before_train.json`` and ``before_val.json``."""
    documents = [
        json.loads((source / "annotations" / f"instances_{name}.json").read_bytes()) for name in ("train", "val")
    ]
    images = sorted((image for document in documents for image in document["images"]), key=lambda image: image["id"])
    boxes = [box for document in documents for box in document["annotations"]]
    categories = documents[0]["categories"]
    random.Random(0).shuffle(images)
    mine, before = images[:NUM_NEW], images[NUM_NEW:]
    known = [category for category in categories if category["name"] != UNKNOWN_BEFORE]
    target.mkdir(parents=True, exist_ok=True)
    for name, part, classes in (
        ("mine_train", mine[NUM_VAL:], categories),
        ("mine_val", mine[:NUM_VAL], categories),
        ("before_train", before[NUM_VAL_BEFORE:], known),
        ("before_val", before[:NUM_VAL_BEFORE], known),
    ):
        (target / f"{name}.json").write_text(json.dumps(document_of(part, boxes, classes)))


def document_of(
    images: list[dict[str, Any]], boxes: list[dict[str, Any]], categories: list[dict[str, Any]]
) -> dict[str, Any]:
    """A document of COCO's layout with these images and categories alone."""
    ids, classes = {image["id"] for image in images}, {category["id"] for category in categories}
    kept = [box for box in boxes if box["image_id"] in ids and box["category_id"] in classes]
    return {"images": sorted(images, key=lambda image: image["id"]), "annotations": kept, "categories": categories}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
