"""The settings of a data module: where its files lie, how they are read, chosen and loaded.

A command line has all of them side by side under ``data``; ``DataSettings.of`` deals them to the part that has a field
of that name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Self

from deta.data.collate import Collate
from deta.data.image_rows import LAYOUTS, Layout
from deta.data.images import ImageRules
from deta.data.loaders import DEFAULT_TIMEOUT
from deta.data.sources import FolderSplit, Split
from deta.data.streaming.split import sharded_splits
from deta.utils.checks import require_bool, require_choice, require_int, require_number
from deta.utils.names import nearest


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where images and annotations lie.

    Attributes:
        root: Folder that the four paths below start from; absolute ones stay as they are.
        train_annotations: JSON of the training images; its categories decide the class indexes.
        train_images: Folder of the training images.
        val_annotations: JSON of the validation images.
        val_images: Folder of the validation images.
        layout: Of both files: ``coco``, or ``lvis``, whose file names are folder and name in ``coco_url``.
        follow_links: Whether links in the image folders may lead out of them.
        source: ``folder`` reads the files of these paths; ``shards`` reads what ``deta data shard`` made of them,
            the same samples in the same order.
        shards: Folder or ``s3://bucket/prefix`` of the shards.
        shard_cache: Folder below which the shards of an object store are kept once they are used.
        shard_cache_gb: Most that each split may take there, in 1e9 bytes; None keeps every shard.
    """

    root: str | Path
    train_annotations: str | Path
    train_images: str | Path
    val_annotations: str | Path
    val_images: str | Path
    layout: Layout = "coco"
    follow_links: bool = False
    source: str = "folder"
    shards: str | Path | None = None
    shard_cache: str | Path | None = None
    shard_cache_gb: float | None = None

    def __post_init__(self) -> None:
        require_bool("data.follow_links", self.follow_links)
        require_choice("data.source", self.source, ("folder", "shards"))
        require_choice("data.layout", self.layout, LAYOUTS)

    def folders(self) -> Mapping[str, FolderSplit]:
        """``train`` and ``val`` as single files, whether or not they are read from there."""
        root = Path(self.root)
        return {
            "train": FolderSplit(root / self.train_annotations, root / self.train_images, self.follow_links),
            "val": FolderSplit(root / self.val_annotations, root / self.val_images, self.follow_links),
        }

    def splits(self) -> Mapping[str, Split]:
        """``train`` and ``val`` as they are read.

        Raises:
            ValueError: Shards are asked for, and a key of theirs is missing or out of its range.
        """
        if self.source == "folder":
            return self.folders()
        return sharded_splits(self.shards, self.shard_cache, self.shard_cache_gb)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Which images are accepted and how they become pixels.

    Attributes:
        check_files: Look at setup whether every image file exists.
        on_bad_image: ``error``, or ``skip`` to replace unusable training images, see ``CocoDataset``.
        max_bad_fraction: Largest share of the training images that may be skipped, 0..1.
        min_image_side: Smallest side accepted, in pixels.
        max_image_pixels: Most pixels of an image, see ``ImageRules``.
        scale_16bit: Map 16-bit grey images to 8 bits instead of refusing them.
        exif: What an EXIF orientation does, ``auto``, ``apply`` or ``ignore``, see ``ImageRules``.
    """

    check_files: bool = True
    on_bad_image: str = "error"
    max_bad_fraction: float = 0.001
    min_image_side: int = ImageRules.min_side
    max_image_pixels: int = ImageRules.max_pixels
    scale_16bit: bool = ImageRules.scale_16bit
    exif: str = ImageRules.exif

    def __post_init__(self) -> None:
        require_bool("data.check_files", self.check_files)
        require_choice("data.on_bad_image", self.on_bad_image, ("error", "skip"))
        require_number("data.max_bad_fraction", self.max_bad_fraction, low=0, high=1)
        self.rules()

    def rules(self) -> ImageRules:
        """Of single images, as every command has them."""
        return ImageRules(
            min_side=self.min_image_side,
            max_pixels=self.max_image_pixels,
            scale_16bit=self.scale_16bit,
            exif=self.exif,
        )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which images an epoch of training shows, and in which order.

    Attributes:
        seed: Of order and augmentation.
        keep_empty_images: Whether images without objects take part in the training.
        limit_train_images: Train on the first images by id only, for debugging; None takes all.
        shuffle_window: Number of shards whose images are mixed at a time in training, which then fetches shards
            in turn instead of all at once; None mixes all.
        repeat_threshold: Share of the training images, 0..1, below which a class counts as rare and its images are
            seen several times in an epoch, see ``repeat_factors``; None shows every image once.
        num_sampled_classes: LVIS: classes drawn for each image among those that it says nothing about, for a
            criterion that is federated.
    """

    seed: int = 0
    keep_empty_images: bool = True
    limit_train_images: int | None = None
    shuffle_window: int | None = None
    repeat_threshold: float | None = None
    num_sampled_classes: int = 0

    def __post_init__(self) -> None:
        require_int("data.seed", self.seed, low=0)
        require_bool("data.keep_empty_images", self.keep_empty_images)
        if self.limit_train_images is not None:
            require_int("data.limit_train_images", self.limit_train_images, low=1)
        if self.shuffle_window is not None:
            require_int("data.shuffle_window", self.shuffle_window, low=1)
        if self.repeat_threshold is not None:
            require_number("data.repeat_threshold", self.repeat_threshold, low=0, high=1)
        require_int("data.num_sampled_classes", self.num_sampled_classes, low=0)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Images of a batch, and the processes that read them.

    Attributes:
        batch_size: Training images per rank and step.
        eval_batch_size: Validation images per rank and step.
        num_workers: Reading processes per rank and loader; 0 reads in the training process. Does not change
            any result.
        read_timeout: Seconds that a loop waits for a batch of its reading processes; 0 waits for ever.
        pad_to: ``height, width`` in pixels of every batch, for static shapes; None pads to the largest image.
        pad_to_multiple: Pixels of which both sides of every batch are a multiple.
    """

    batch_size: int = 2
    eval_batch_size: int = 2
    num_workers: int = 4
    read_timeout: float = DEFAULT_TIMEOUT
    pad_to: Sequence[int] | None = None
    pad_to_multiple: int = 1

    def __post_init__(self) -> None:
        require_int("data.batch_size", self.batch_size, low=1)
        require_int("data.eval_batch_size", self.eval_batch_size, low=1)
        require_int("data.num_workers", self.num_workers, low=0)
        require_number("data.read_timeout", self.read_timeout, low=0)
        self.collate()

    def collate(self) -> Collate:
        """Makes the batches."""
        return Collate(pad_to=self.pad_to, pad_to_multiple=self.pad_to_multiple)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """All parts; every setting has a name of its own among those of all of them.

    Raises:
        ValueError: Classes are sampled although the data set is not of LVIS.
    """

    files: Files
    reading: Reading
    choice: Choice
    loading: Loading

    def __post_init__(self) -> None:
        if self.choice.num_sampled_classes and self.files.layout != "lvis":
            raise ValueError(
                "data.num_sampled_classes must be 0 unless data.layout is lvis, got "
                f"{self.choice.num_sampled_classes}: in other data sets every class was looked for in every image"
            )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Deal settings to the parts, by their names.

        Raises:
            ValueError: There is no such setting, one without a default is missing, or a value is out of its range.
        """
        names = {part: {field.name: field for field in fields(kind)} for part, kind in _PARTS.items()}
        known = {name: field for part in names.values() for name, field in part.items()}
        unknown = next((name for name in settings if name not in known), None)
        if unknown is not None:
            near = nearest(unknown, known)
            remedy = "--cfg job shows what there is" if near is None else f"is data.{near} meant?"
            raise ValueError(f"data.{unknown} is no setting of the data: {remedy}")
        missing = [f"data.{name}" for name, field in known.items() if _is_required(field) and name not in settings]
        if missing:
            raise ValueError(f"{', '.join(missing)} must be given")
        parts: dict[str, Any] = {
            part: kind(**{name: settings[name] for name in names[part] if name in settings})
            for part, kind in _PARTS.items()
        }
        return cls(**parts)


_PARTS: Mapping[str, type[Files | Reading | Choice | Loading]] = {
    "files": Files,
    "reading": Reading,
    "choice": Choice,
    "loading": Loading,
}


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
