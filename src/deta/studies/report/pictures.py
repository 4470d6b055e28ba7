"""The same images by every training: what was found in them and what was assigned, small enough to lie in the page."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from deta.data.decoding import load_image
from deta.data.images import ImageRules
from deta.drawing.scene import DETECTIONS, FOLDER, BoxLayer, Scene, read_scene
from deta.studies.report.trainings import Training
from deta.studies.results import Run
from deta.utils.wording import counted

NUM_IMAGES = 8
"""Most images in a page."""
WIDTH = 640
"""Of an image in the page, in pixels."""
_QUALITY = 78
_LAYERS = {DETECTIONS: "detections", "proposals": "first stage", "layers": "decoder", "dense": "dense stage"}
"""What can be drawn, in the order of the switch."""


@dataclass(frozen=True)
class Finding:
    """What a training found in an image and assigned to it.

    Attributes:
        training: Place of the training.
        seed: Of its first run that is done and has pictures.
        scene: The boxes.
    """

    training: int
    seed: int
    scene: Scene


@dataclass(frozen=True)
class PicturedImage:
    """An image of the validation set.

    Attributes:
        name: Such as ``val_0``.
        image_id: In its annotation file.
        source: The image without boxes, as a data URI.
        ratio: Its height as a multiple of its width.
        findings: One for each training that has it, all with the same ground truth.
    """

    name: str
    image_id: int
    source: str
    ratio: float
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Pictures:
    """All images of a page.

    Attributes:
        images: At most ``NUM_IMAGES``.
        layers: Title of every kind of boxes that one of them has, by its name.
        notes: What is not shown and why.
    """

    images: tuple[PicturedImage, ...]
    layers: dict[str, str]
    notes: tuple[str, ...]

    def to_json(self, trainings: Sequence[Training]) -> dict[str, Any]:
        """What the page draws: boxes as rows of four corners, class, and score or object."""
        scenes = [finding.scene for image in self.images for finding in image.findings]
        classes = sorted({name for scene in scenes for name in scene.classes})
        images = []
        for image in self.images:
            truth = image.findings[0].scene
            found = [
                {
                    "training": finding.training,
                    "seed": finding.seed,
                    "layers": {
                        name: _rows(layer, finding.scene, classes)
                        for name, layer in finding.scene.layers.items()
                        if name in self.layers
                    },
                }
                for finding in image.findings
            ]
            images.append(
                {
                    "source": image.source,
                    "ratio": image.ratio,
                    "truth": _rows(truth.truth, truth, classes),
                    "ignored": truth.ignored,
                    "found": found,
                }
            )
        looks = [
            {"cells": each.cells, "label": each.label, "line": {"color": each.colour, "dash": each.dash}}
            for each in trainings
        ]
        return {"classes": classes, "layers": self.layers, "trainings": looks, "images": images}


def pictures(trainings: Sequence[Training]) -> Pictures:
    """Images of the first run of every training that is done and has some; equal ones are those of equal objects."""
    notes: list[str] = []
    found: dict[tuple[object, ...], list[tuple[Path, Finding]]] = {}
    without = []
    for place, training in enumerate(trainings):
        run = next((run for run in training.runs if run.is_done and _files(run)), None)
        if run is None:
            without.append(training)
            continue
        for path, scene in _scenes(run, notes):
            key = (path.stem, scene.image_id, tuple(scene.truth.boxes))
            found.setdefault(key, []).append((path, Finding(place, run.seed, scene)))
    groups = sorted(found.values(), key=lambda group: (-len(group), len(group[0][0].stem), group[0][0].stem))
    images = list(_pictured(groups[:NUM_IMAGES], notes))
    if groups[NUM_IMAGES:]:
        notes.append(f"{counted(len(groups) - NUM_IMAGES, 'further image')} left out: a page shows {NUM_IMAGES}.")
    if without and images:
        notes.append(f"Without pictures: {'; '.join(training.label for training in without)}.")
    if num_sheets := sum(_has_sheets(training) for training in without):
        told = counted(num_sheets, "training has", "trainings have")
        notes.append(f"{told} pictures without their boxes as data, from before these were kept.")
    names = {name for image in images for finding in image.findings for name in finding.scene.layers}
    return Pictures(tuple(images), {name: title for name, title in _LAYERS.items() if name in names}, tuple(notes))


def _pictured(groups: Sequence[Sequence[tuple[Path, Finding]]], notes: list[str]) -> Iterator[PicturedImage]:
    """Every group with its image, that of the first member."""
    for group in groups:
        path, first = group[0]
        try:
            source, ratio = _encode(path.with_suffix(".jpg"))
        except (OSError, ValueError) as error:
            notes.append(f"Left out: {error}.")
            continue
        yield PicturedImage(path.stem, first.scene.image_id, source, ratio, tuple(finding for _, finding in group))


def _has_sheets(training: Training) -> bool:
    return any(run.is_done and any((run.folder / "pictures").glob("val_*.jpg")) for run in training.runs)


def _files(run: Run) -> list[Path]:
    found = (run.folder / "pictures" / FOLDER).glob("*.json")
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _scenes(run: Run, notes: list[str]) -> Iterator[tuple[Path, Scene]]:
    """What can be read; a damaged file is left out with a note."""
    for path in _files(run):
        try:
            yield path, read_scene(path)
        except (OSError, ValueError) as error:
            notes.append(f"Left out: {error}.")


def _rows(layer: BoxLayer, scene: Scene, classes: Sequence[str]) -> list[list[float]]:
    further = layer.scores or layer.owners or [0] * len(layer.boxes)
    labels = [classes.index(scene.classes[label]) for label in layer.labels]
    return [[*box, label, value] for box, label, value in zip(layer.boxes, labels, further, strict=True)]


def _encode(path: Path) -> tuple[str, float]:
    """An image as a data URI, and its height as a multiple of its width."""
    image = load_image(path, name=str(path), max_pixels=ImageRules.max_pixels).image
    if image.width > WIDTH:
        image = image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}", image.height / image.width
