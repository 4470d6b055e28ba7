"""Pictures inside the page."""

import base64
import io
from pathlib import Path

from PIL import Image

from deta.runs.state import RunState
from deta.studies.report.pictures import NUM_IMAGES, NUM_PICTURES, WIDTH, pictured_images
from tests.studies.report.making import run, training


def draw(folder: Path, *numbers: int) -> Path:
    """Pictures whose left half is red and whose right half is blue."""
    (folder / "pictures").mkdir(parents=True)
    for number in numbers:
        picture = Image.new("RGB", (2 * WIDTH + 208, 300), "red")
        picture.paste("blue", (picture.width // 2, 0, picture.width, 300))
        picture.save(folder / "pictures" / f"val_{number}.jpg")
    return folder


def decode(source: str) -> Image.Image:
    assert source.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


def test_detections_and_ground_truth_are_parted_and_made_small(tmp_path: Path) -> None:
    (image,) = pictured_images([training(run(folder=draw(tmp_path, 0)))])
    found, truth = decode(image.pictures[0].source), decode(image.truth)
    assert found.size == truth.size == (WIDTH, round(300 * WIDTH / (WIDTH + 104)))
    red, _, blue = found.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert red > 200 > 50 > blue
    red, _, blue = truth.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert blue > 200 > 50 > red


def test_every_training_shows_the_first_of_its_runs_that_is_done(tmp_path: Path) -> None:
    failed = run(folder=draw(tmp_path / "a", 0), state=RunState.FAILED)
    done = run(folder=draw(tmp_path / "b", 0, 1), seed=1)
    other = run(folder=draw(tmp_path / "c", 1), seed=0)
    images = pictured_images([training(failed, done), training(other, cells=(1,), label="other")])
    assert [(image.name, [picture.run.folder.name for picture in image.pictures]) for image in images] == [
        ("val_0", ["b"]),
        ("val_1", ["b", "c"]),
    ]


def test_images_are_counted_as_numbers_and_limited(tmp_path: Path) -> None:
    (image, *others) = pictured_images([training(run(folder=draw(tmp_path / "a", 10, *range(8))))])
    assert [image.name, *(each.name for each in others)] == [f"val_{k}" for k in range(NUM_IMAGES)]
    many = [training(run(folder=draw(tmp_path / str(k), 0, 1)), cells=(k,)) for k in range(NUM_PICTURES)]
    assert len(pictured_images(many)) == 1


def test_without_pictures_there_are_none(tmp_path: Path) -> None:
    assert pictured_images([training(run(folder=tmp_path))]) == ()
    assert pictured_images([]) == ()
