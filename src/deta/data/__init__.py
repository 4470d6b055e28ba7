"""COCO-format data: reading, checking, augmenting and batching.

The names are looked up when they are used, so that reading annotations imports no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deta.data.categories import Categories
    from deta.data.checks import DatasetReport, check_dataset, write_checksums
    from deta.data.coco import AnnotationReport, CocoAnnotations, read_coco
    from deta.data.collate import Collate
    from deta.data.colours import ColourShift
    from deta.data.datamodule import CocoDataModule
    from deta.data.dataset import CocoDataset
    from deta.data.decoding import ImageError
    from deta.data.images import read_image
    from deta.data.loaders import EvalLoader, TrainLoader
    from deta.data.mixing import Mosaic
    from deta.data.sample import Sample, SampleKey, unlabelled_sample
    from deta.data.samplers import EvalSampler, TrainSampler
    from deta.data.shapes import SHAPE_CATEGORIES, ShapesDataModule, generate_shapes
    from deta.data.shapes_recipe import ShapesRecipe
    from deta.data.transforms import (
        Compose,
        LargeScaleJitter,
        RandomChoice,
        RandomHorizontalFlip,
        RandomSizeCrop,
        ResizeShortSide,
        Transform,
    )

__all__ = [
    "SHAPE_CATEGORIES",
    "AnnotationReport",
    "Categories",
    "CocoAnnotations",
    "CocoDataModule",
    "CocoDataset",
    "Collate",
    "ColourShift",
    "Compose",
    "DatasetReport",
    "EvalLoader",
    "EvalSampler",
    "ImageError",
    "LargeScaleJitter",
    "Mosaic",
    "RandomChoice",
    "RandomHorizontalFlip",
    "RandomSizeCrop",
    "ResizeShortSide",
    "Sample",
    "SampleKey",
    "ShapesDataModule",
    "ShapesRecipe",
    "TrainLoader",
    "TrainSampler",
    "Transform",
    "check_dataset",
    "generate_shapes",
    "read_coco",
    "read_image",
    "unlabelled_sample",
    "write_checksums",
]

_NAMES_BY_MODULE = {
    "categories": ("Categories",),
    "checks": ("DatasetReport", "check_dataset", "write_checksums"),
    "coco": ("AnnotationReport", "CocoAnnotations", "read_coco"),
    "collate": ("Collate",),
    "colours": ("ColourShift",),
    "datamodule": ("CocoDataModule",),
    "dataset": ("CocoDataset",),
    "decoding": ("ImageError",),
    "images": ("read_image",),
    "loaders": ("EvalLoader", "TrainLoader"),
    "mixing": ("Mosaic",),
    "sample": ("Sample", "SampleKey", "unlabelled_sample"),
    "samplers": ("EvalSampler", "TrainSampler"),
    "shapes": ("SHAPE_CATEGORIES", "ShapesDataModule", "generate_shapes"),
    "shapes_recipe": ("ShapesRecipe",),
    "transforms": (
        "Compose",
        "LargeScaleJitter",
        "RandomChoice",
        "RandomHorizontalFlip",
        "RandomSizeCrop",
        "ResizeShortSide",
        "Transform",
    ),
}
_MODULES = {name: f"deta.data.{module}" for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
