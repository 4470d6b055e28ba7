"""Predictions on the same images by every training, small enough to lie in the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deta.data.decoding import load_image
from deta.data.images import ImageRules
from deta.studies.report.trainings import Training
from deta.studies.results import Run

NUM_PICTURES = 48
"""Most pictures of predictions in a page; many trainings show fewer images each."""
NUM_IMAGES = 4
"""Most images."""
WIDTH = 440
"""Of a picture in the page, in pixels."""
_QUALITY = 72


@dataclass(frozen=True)
class Picture:
    """What a training finds in an image.

    Attributes:
        training: Whose runs drew it.
        run: The one of them that did: the first that is done.
        source: Data URI of a JPEG.
    """

    training: Training
    run: Run
    source: str


@dataclass(frozen=True)
class PicturedImage:
    """An image, its ground truth and what was found in it.

    Attributes:
        name: Such as ``val_0``.
        truth: Data URI of the ground truth, as the first of the trainings drew it.
        pictures: One for each training that has the image.
    """

    name: str
    truth: str
    pictures: tuple[Picture, ...]


def pictured_images(trainings: Sequence[Training]) -> tuple[PicturedImage, ...]:
    """Images of the first finished run of every training, as many as the page can hold."""
    runs = [(training, run) for training in trainings if (run := _first_with_pictures(training))]
    names = sorted({path.name for _, run in runs for path in _files(run)}, key=lambda name: (len(name), name))
    images = []
    for name in names[: max(1, min(NUM_IMAGES, NUM_PICTURES // max(1, len(runs))))]:
        drawn = [(training, run, run.folder / "pictures" / name) for training, run in runs]
        drawn = [(training, run, path) for training, run, path in drawn if path.is_file()]
        found = tuple(Picture(training, run, _halves(path)[0]) for training, run, path in drawn)
        images.append(PicturedImage(Path(name).stem, _halves(drawn[0][2])[1], found))
    return tuple(images)


def _first_with_pictures(training: Training) -> Run | None:
    return next((run for run in training.runs if run.is_done and _files(run)), None)


def _files(run: Run) -> list[Path]:
    return list((run.folder / "pictures").glob("val_*.jpg"))


def _halves(path: Path) -> tuple[str, str]:
    """Detections and ground truth, which a run draws side by side at equal width."""
    picture = load_image(path, name=str(path), max_pixels=ImageRules.max_pixels).image
    middle = picture.width // 2
    left = picture.crop((0, 0, middle, picture.height))
    right = picture.crop((picture.width - middle, 0, picture.width, picture.height))
    return _encode(left), _encode(right)


def _encode(picture: Image.Image) -> str:
    if picture.width > WIDTH:
        picture = picture.resize(
            (WIDTH, max(1, round(picture.height * WIDTH / picture.width))), Image.Resampling.LANCZOS
        )
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
