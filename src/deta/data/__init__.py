"""COCO-format data: reading, checking, augmenting and batching."""

from deta.data.categories import Categories
from deta.data.checks import DatasetReport, check_dataset, write_checksums
from deta.data.coco import AnnotationReport, CocoAnnotations, read_coco
from deta.data.collate import Collate
from deta.data.datamodule import CocoDataModule
from deta.data.dataset import CocoDataset
from deta.data.decoding import ImageError
from deta.data.images import read_image
from deta.data.loaders import EvalLoader, TrainLoader
from deta.data.sample import Sample, SampleKey, unlabelled_sample
from deta.data.samplers import EvalSampler, TrainSampler
from deta.data.shapes import SHAPE_CATEGORIES, ShapesDataModule, ShapesRecipe, generate_shapes
from deta.data.transforms import (
    Compose,
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
    "Compose",
    "DatasetReport",
    "EvalLoader",
    "EvalSampler",
    "ImageError",
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
