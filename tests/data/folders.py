"""Small COCO folders for the tests of the data layer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from deta.data import CocoDataModule, Compose, Sample

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "ant"}]


def image(image_id: int = 1, *, height: int = 30, width: int = 40, **changes: object) -> dict[str, Any]:
    """An entry of ``images``; its file is ``<id>.png``."""
    return {"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width, **changes}


def annotation(annotation_id: int = 1, **changes: object) -> dict[str, Any]:
    """An entry of ``annotations``: a box of 10 x 8 pixels at (5, 6)."""
    entry = {"id": annotation_id, "image_id": 1, "category_id": 3, "bbox": [5, 6, 10, 8]}
    return {**entry, "area": 80, "iscrowd": 0, **changes}


def document(
    images: Sequence[Any] | None = None, annotations: Sequence[Any] | None = None, **changes: object
) -> dict[str, Any]:
    """A whole annotation file, by default one image with one object."""
    return {
        "images": [image()] if images is None else list(images),
        "annotations": [annotation()] if annotations is None else list(annotations),
        "categories": CATEGORIES,
        **changes,
    }


def write_json(path: Path, content: object) -> Path:
    """Write ``content`` as JSON (NaN allowed, as Python writes it)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_image(path: Path, *, height: int = 30, width: int = 40, seed: int = 0) -> Path:
    """Write a picture of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_dataset(root: Path, *, num_images: int, split: str = "train") -> Path:
    """A folder with images 1..N of different sizes; image ``i`` has ``i % 4`` objects. Returns the JSON."""
    images: list[Any] = []
    annotations: list[Any] = []
    for image_id in range(1, num_images + 1):
        height, width = 24 + image_id % 5, 32 + image_id % 3
        write_image(root / split / f"{image_id}.png", height=height, width=width, seed=image_id)
        images.append(image(image_id, height=height, width=width))
        for k in range(image_id % 4):
            box = [2 + 5 * k, 3, 6, 7]
            annotations.append(annotation(len(annotations) + 1, image_id=image_id, bbox=box, area=42))
    return write_json(root / "annotations" / f"{split}.json", document(images, annotations))


def data_module(root: Path, **changes: Any) -> CocoDataModule:  # noqa: ANN401
    """The data module of ``write_dataset`` folders ``train`` and ``val``, without transforms and workers."""
    options: dict[str, Any] = {
        "train_annotations": "annotations/train.json",
        "train_images": "train",
        "val_annotations": "annotations/val.json",
        "val_images": "val",
        "train_transform": Compose(transforms=[]),
        "val_transform": Compose(transforms=[]),
        "num_workers": 0,
    }
    return CocoDataModule(root=root, **{**options, **changes})


def sample(
    height: int = 20,
    width: int = 30,
    boxes: Sequence[Sequence[float]] = (),
    **changes: Any,  # noqa: ANN401
) -> Sample:
    """A sample of random pixels with these ``xyxy`` boxes, labels 0, 1, ... and areas 100, 101, ..."""
    pixels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {
        "image": pixels.to(torch.uint8),
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.arange(len(boxes)),
        "areas": 100.0 + torch.arange(len(boxes)),
        "ignore_boxes": torch.zeros(0, 4),
        "image_id": 1,
        "original_size": (height, width),
    }
    return Sample(**{**options, **changes})
