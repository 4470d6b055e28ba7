"""An embedded data set: generated pictures of six shapes, written as an ordinary COCO folder.

It needs no download, so the whole platform can be tried and tested on any machine.
"""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deta.data.categories import Categories
from deta.data.datamodule import CocoDataModule
from deta.data.shapes_drawing import SHAPES, Drawing, Mask, draw_image
from deta.data.shapes_recipe import RECIPE_VERSION, ShapesRecipe
from deta.utils.checks import require_choice

SHAPE_CATEGORIES = Categories(ids=(2, 5, 11, 17, 23, 42), names=tuple(SHAPES))
"""Ids with gaps, as COCO's have."""
_SIZES = ((128, 128), (128, 160), (160, 128), (144, 192), (192, 144), (160, 160))
"""``(height, width)`` in pixels of the pictures, equally likely."""


def generate_shapes(recipe: ShapesRecipe, cache: Path) -> Path:
    """Write the data set below ``cache`` unless it is there already.

    The folder appears complete or not at all, also when several processes do this at once.

    Returns:
        The folder with ``annotations/instances_{train,val}.json``, ``train/`` and ``val/``.
    """
    folder = cache / recipe.folder_name()
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=cache) as unfinished:
        staged = Path(unfinished) / folder.name
        _write_split(staged, "train", recipe.num_train, (recipe.seed, 0))
        _write_split(staged, "val", recipe.num_val, (recipe.seed, 1))
        try:
            staged.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


class ShapesDataModule(CocoDataModule):
    """The generated data set; see ``CocoDataModule`` for everything else.

    Args:
        cache: Folder below which the data set is kept.
        num_train: Training images.
        num_val: Validation images.
        recipe_seed: Seed of the pictures; ``seed`` is that of order and augmentation.
        val_split: Which of the two is validated on: ``val``, or ``train`` to see what a detector learns by heart.
        options: Every further argument of ``CocoDataModule`` but the paths.

    Raises:
        ValueError: A path is given; ``val_split`` is neither, or ``train`` beside shards; or as of ``CocoDataModule``.
    """

    def __init__(
        self,
        *,
        cache: str | Path,
        num_train: int = 800,
        num_val: int = 100,
        recipe_seed: int = 0,
        val_split: str = "val",
        **options: Any,  # noqa: ANN401 - checked by CocoDataModule
    ) -> None:
        self._recipe = ShapesRecipe(num_train=num_train, num_val=num_val, seed=recipe_seed)
        self._cache = Path(cache)
        used = {"train": "train", "val": require_choice("data.val_split", val_split, ("train", "val"))}
        paths: dict[str, Any] = {f"{split}_images": folder for split, folder in used.items()}
        paths |= {f"{split}_annotations": f"annotations/instances_{folder}.json" for split, folder in used.items()}
        given = next((name for name in ("root", *paths) if name in options), None)
        if given is not None:
            raise ValueError(f"data.{given} is no setting of generated pictures, which lie below data.cache")
        if val_split == "train" and options.get("source") == "shards":
            raise ValueError(
                "data.val_split=train needs data.source=folder: shards have a split for validation, which is read"
            )
        super().__init__(root=self._cache / self._recipe.folder_name(), **paths, **options)

    def prepare_data(self) -> None:
        """Write the files, a matter of seconds; does nothing if they exist."""
        generate_shapes(self._recipe, self._cache)
        super().prepare_data()


def _write_split(folder: Path, split: str, num_images: int, seed: tuple[int, int]) -> None:
    (folder / split).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(1, num_images + 1):
        rng = np.random.default_rng((*seed, image_id))
        height, width = _SIZES[rng.integers(len(_SIZES))]
        drawing = draw_image((height, width), rng)
        name = f"{image_id:06d}.jpg"
        content = io.BytesIO()  # Pillow writes to a file itself and overlooks that only a part fits on the disk
        Image.fromarray(drawing.pixels).save(content, format="JPEG", quality=90)
        (folder / split / name).write_bytes(content.getvalue())
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        annotations += _annotations(drawing, image_id, first_id=len(annotations) + 1)
    pairs = zip(SHAPE_CATEGORIES.ids, SHAPE_CATEGORIES.names, strict=True)
    document = {
        "info": {"description": "generated shapes", "version": str(RECIPE_VERSION)},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": category_id, "name": name, "supercategory": "shape"} for category_id, name in pairs],
    }
    path = folder / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))


def _annotations(drawing: Drawing, image_id: int, *, first_id: int) -> list[dict[str, Any]]:
    entries = [(label, mask, 0) for label, mask in drawing.objects]
    entries += [(label, mask, 1) for label, mask in drawing.crowds]
    return [
        {
            "id": first_id + row,
            "image_id": image_id,
            "category_id": SHAPE_CATEGORIES.ids[label],
            "iscrowd": is_crowd,
            "area": int(mask.sum()),
            "bbox": _box_xywh(mask),
            "segmentation": {"counts": run_lengths(mask), "size": list(mask.shape)},
        }
        for row, (label, mask, is_crowd) in enumerate(entries)
    ]


def run_lengths(mask: Mask) -> list[int]:
    """COCO's uncompressed run lengths of an ``[h, w]`` mask: column by column, zeros first."""
    flat = np.concatenate(([False], mask.ravel(order="F"), [False]))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = changes if mask.ravel(order="F")[-1] else np.append(changes, mask.size)
    counts: list[int] = np.diff(ends, prepend=0).tolist()
    return counts


def _box_xywh(mask: Mask) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
