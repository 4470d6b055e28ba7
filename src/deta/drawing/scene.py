"""An image with its objects, what was found in it and what was assigned to them, as data that a page can draw."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path

from torch import Tensor
from torchvision.ops import box_convert

from deta.drawing.boxes import save_picture, unpadded
from deta.structures import Batch, Detections, Matches, Prediction
from deta.utils.files import read_json, write_text

DETECTIONS = "detections"
"""Name of the layer of what was found; those of assignments have the names of their stages."""
FOLDER = "boxes"
"""In a folder of pictures: images without boxes, and the boxes of each."""
_MOST_DETECTIONS = 100
"""The best of them; what lies below is no more than a veil of lines."""
_DIGITS = 4
"""Of a corner, which is a fraction of the image: a tenth of a pixel of a large one."""

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxLayer:
    """Boxes of one kind.

    Attributes:
        boxes: ``x0, y0, x1, y1`` of each as fractions of the image.
        labels: Class indices, places in the ``classes`` of the scene.
        scores: Of detections in 0..1, descending; empty for others.
        owners: Of assigned boxes: the object that each answers for, a place in the ground truth; empty for others.
    """

    boxes: list[Corners]
    labels: list[int]
    scores: list[float] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        lengths = {"labels": len(self.labels), "scores": len(self.scores), "owners": len(self.owners)}
        for name, length in lengths.items():
            if length != len(self.boxes) and (name == "labels" or length):
                raise ValueError(f"{name} must be one for each of {len(self.boxes)} boxes, got {length}")
        _require_fractions("boxes", chain(self.scores, *self.boxes))

    def relabelled(self, places: Mapping[int, int]) -> "BoxLayer":
        """The same with other class indices."""
        return replace(self, labels=[places[label] for label in self.labels])


@dataclass(frozen=True)
class Scene:
    """What is known of an image.

    Attributes:
        image_id: In its annotation file.
        classes: Names of the classes that boxes have; labels are places in it.
        truth: The objects.
        ignored: Areas that are not annotated, as fractions of the image.
        layers: Detections and assigned boxes by the name of the layer.
    """

    image_id: int
    classes: list[str]
    truth: BoxLayer
    ignored: list[Corners]
    layers: dict[str, BoxLayer]

    def __post_init__(self) -> None:
        labels = [label for layer in (self.truth, *self.layers.values()) for label in layer.labels]
        if any(not 0 <= label < len(self.classes) for label in labels):
            raise ValueError(f"labels must be places in the {len(self.classes)} classes")
        owners = [owner for layer in self.layers.values() for owner in layer.owners]
        if any(not 0 <= owner < len(self.truth.boxes) for owner in owners):
            raise ValueError(f"owners must be places in the {len(self.truth.boxes)} objects")
        _require_fractions("ignored", chain(*self.ignored))


def scene_of(
    batch: Batch,
    index: int,
    detections: Detections,
    assigned: Iterable[tuple[str, Prediction, Matches]],
    *,
    names: Sequence[str],
) -> Scene:
    """One image of a batch as data.

    Args:
        batch: What the detector saw.
        index: Of the image in the batch.
        detections: Its answer, in pixels of the original images.
        assigned: For every stage its name, the candidates in units of the image, and the assignment.
        names: Name of every class index.
    """
    targets = batch.targets
    is_object = targets.is_object[index]
    labels = targets.labels[index, is_object]
    truth = BoxLayer(_corners(_xyxy(targets.boxes[index, is_object])), labels.tolist())
    layers = {DETECTIONS: _found(batch, index, detections)}
    for name, prediction, matches in assigned:
        pairs = matches.pairs()
        candidate, owner = pairs[pairs[:, 0] == index, 1:].unbind(1)
        boxes = _corners(_xyxy(prediction.priors[index, candidate]))
        layers[name] = BoxLayer(boxes, labels[owner].tolist(), owners=owner.tolist())
    used = sorted({label for layer in (truth, *layers.values()) for label in layer.labels})
    places = {label: place for place, label in enumerate(used)}
    return Scene(
        image_id=int(batch.image_ids[index]),
        classes=[names[label] for label in used],
        truth=truth.relabelled(places),
        ignored=_corners(_xyxy(targets.ignore_boxes[index, targets.is_ignore[index]])),
        layers={name: layer.relabelled(places) for name, layer in layers.items()},
    )


def write_scene(scene: Scene, batch: Batch, index: int, folder: Path, name: str) -> None:
    """Write the image as ``<name>.jpg`` and its boxes as ``<name>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_picture(unpadded(batch, index)[0], folder / f"{name}.jpg")
    write_text(folder / f"{name}.json", json.dumps(asdict(scene), separators=(",", ":"), allow_nan=False))


def read_scene(path: Path) -> Scene:
    """What ``write_scene`` wrote.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged.
    """
    return read_json(path, Scene)


def _found(batch: Batch, index: int, detections: Detections) -> BoxLayer:
    size = batch.original_sizes[index].flip(0).repeat(2)
    is_detection = detections.is_detection[index]
    scores = detections.scores[index][is_detection]
    best = scores.argsort(descending=True, stable=True)[:_MOST_DETECTIONS]
    boxes = detections.boxes[index][is_detection][best].float() / size
    labels = detections.labels[index][is_detection][best].tolist()
    return BoxLayer(_corners(boxes), labels, [round(score, _DIGITS) for score in scores[best].tolist()])


def _xyxy(boxes_cxcywh: Tensor) -> Tensor:
    corners: Tensor = box_convert(boxes_cxcywh.float(), "cxcywh", "xyxy")
    return corners


def _corners(boxes_xyxy: Tensor) -> list[Corners]:
    """As rounded fractions, cut at the border of the image."""
    rows: list[list[float]] = boxes_xyxy.clamp(0, 1).tolist()
    return [(round(x0, _DIGITS), round(y0, _DIGITS), round(x1, _DIGITS), round(y1, _DIGITS)) for x0, y0, x1, y1 in rows]


def _require_fractions(name: str, values: Iterable[float]) -> None:
    if not all(0 <= value <= 1 for value in values):  # which NaN fails
        raise ValueError(f"{name} must hold numbers in 0..1")
