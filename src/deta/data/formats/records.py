"""What a reader of another format gives: images and objects in pixels, by split."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deta.utils.checks import require_bool, require_choice, require_folder_name, require_int

Fault = Callable[[str, str], None]
"""Told kind and place of everything that cannot be read."""
ALL = "all"
"""The split of a source that has none."""
_USUAL = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
"""Other names of the splits."""
FIRST_PIXELS = ("auto", 0, 1)
DIFFICULT = ("crowd", "object")


@dataclass(frozen=True, slots=True)
class ForeignObject:
    """One object.

    Attributes:
        category: Key into the categories of the data set.
        box: ``x, y, width, height`` in pixels from the upper left corner of the image.
        area: Pixels squared: of the outline where there is one, else of the box.
        outline: Polygons ``[x0, y0, x1, y1, ...]`` in pixels; empty where the object has a box alone.
        is_crowd: Whether neither a find nor a miss counts.
        fields: Further fields that COCO has, such as ``keypoints``.
        attributes: What COCO has no field for.
    """

    category: int | str
    box: tuple[float, float, float, float]
    area: float
    outline: list[list[float]] = field(default_factory=list)
    is_crowd: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignImage:
    """One image with its objects.

    Attributes:
        name: Path of its file from the folder of the source.
        size: ``(height, width)`` in pixels, of the frame that the boxes are in.
        objects: In the order of the source.
        attributes: What COCO has no field for.
        content: The file itself where the source holds it inside of another one.
    """

    name: str
    size: tuple[int, int]
    objects: list[ForeignObject]
    attributes: dict[str, Any] = field(default_factory=dict)
    content: bytes | None = None


@dataclass(frozen=True)
class ForeignDataset:
    """All that a source holds.

    Attributes:
        categories: Fields of the category by key, ``id`` and ``name`` among them.
        splits: Images by the name of the split in COCO's layout.
        info: What is said of the data set as a whole.
        decisions: What had to be decided in reading, one sentence for each.
    """

    categories: Mapping[int | str, Mapping[str, Any]]
    splits: Mapping[str, Sequence[ForeignImage]]
    info: Mapping[str, Any] = field(default_factory=dict)
    decisions: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How a source is read.

    Attributes:
        splits: Which split of the source becomes which, such as ``{"train": "trainval", "val": "test"}``; None takes
            train, val and test under their usual names.
        unlabelled: Whether an image without an annotation file is one without objects; None is the habit of the format:
            true of YOLO, false of the others.
        difficult: What an object marked ``difficult`` becomes, ``crowd`` or ``object``.
        first_pixel: Number of the first pixel in VOC's coordinates, 0, 1, or ``auto``.
        max_pixels: Most pixels of an image.
        num_workers: Threads, from 1.
    """

    splits: Mapping[str, str] | None = None
    unlabelled: bool | None = None
    difficult: str = "crowd"
    first_pixel: str | int = "auto"
    max_pixels: int = 100_000_000
    num_workers: int = 1

    def __post_init__(self) -> None:
        for name in self.splits or ():
            require_folder_name("a name in splits", name)
        if self.unlabelled is not None:
            require_bool("unlabelled", self.unlabelled)
        require_choice("difficult", self.difficult, DIFFICULT)
        if self.first_pixel not in FIRST_PIXELS or isinstance(self.first_pixel, bool):
            raise ValueError(f"first_pixel must be auto, 0 or 1, got {self.first_pixel!r}")
        require_int("max_image_pixels", self.max_pixels, low=1)
        require_int("num_workers", self.num_workers, low=1)

    def of_unlabelled(self, *, default: bool) -> str:
        """What is told of an image without annotations.

        Args:
            default: The habit of the format.
        """
        is_taken = default if self.unlabelled is None else self.unlabelled
        if is_taken:
            return "image without annotations, taken as one without objects"
        return "image without annotations, left out (unlabelled=true takes it as one without objects)"

    def chosen_splits(self, found: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
        """Names of the images of every split that is taken, by its name in COCO's layout.

        Args:
            found: Names of images by the name of the split in the source.

        Raises:
            ValueError: One that was asked for is not there.
        """
        if self.splits is not None:
            for name in self.splits.values():
                if name not in found:
                    raise ValueError(f"splits: the source has no {name!r}; it has {', '.join(found) or 'none'}")
            return {split: found[name] for split, name in self.splits.items()}
        usual = {usual_split(name): found[name] for name in reversed(list(found))}
        if {"train", "val"} & usual.keys():
            usual = {name: usual[name] for name in ("train", "val", "test") if name in usual}
        return usual


def images_of_all(splits: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of the images of all splits, each once."""
    return list(dict.fromkeys(name for names in splits.values() for name in names))


def numbered(images: Iterable[ForeignImage]) -> dict[int | str, dict[str, Any]]:
    """Categories of the names that objects have, numbered from 1 by name."""
    names = sorted({str(each.category) for image in images for each in image.objects})
    return {name: {"id": number, "name": name} for number, name in enumerate(names, 1)}


def splits_by_folder(images: Iterable[str]) -> dict[str, list[str]]:
    """Names of images by the first folder above each that is called like a split; ``all`` where there is none."""
    found: dict[str, list[str]] = {}
    for image in images:
        split = next((part for part in image.split("/")[:-1] if is_usual_split(part)), ALL)
        found.setdefault(split, []).append(image)
    return found


def usual_split(name: str) -> str:
    """The name under which a split is known: ``val`` of ``valid``."""
    return _USUAL.get(name.lower(), name.lower() if name.lower() in ("train", "val", "test") else name)


def is_usual_split(name: str) -> bool:
    """Whether a folder of this name is a split."""
    return usual_split(name) in ("train", "val", "test")


def outline_box(outline: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """``x, y, width, height`` of polygons ``[x0, y0, x1, y1, ...]``."""
    xs, ys = ([value for polygon in outline for value in polygon[axis::2]] for axis in (0, 1))
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def outline_area(outline: Sequence[Sequence[float]]) -> float:
    """Pixels squared inside of polygons, each by itself: what lies in two of them counts twice."""
    return sum(map(_polygon_area, outline))


def _polygon_area(polygon: Sequence[float]) -> float:
    xs, ys = polygon[0::2], polygon[1::2]
    pairs = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in pairs)) / 2
