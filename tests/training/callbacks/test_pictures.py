"""Which pictures a validation leaves behind."""

from pathlib import Path

import pytest
from PIL import Image

from deta.drawing.scene import read_scene
from deta.training.callbacks import PredictionPictures
from tests.training.tiny import detection_module, make_trainer, shapes


def validate(cache: Path, folder: Path, *, num_images: int, num_val: int = 5) -> list[str]:
    """Names of the pictures after a validation of five images in batches of two."""
    data = shapes(cache, num_val=num_val)
    callback = PredictionPictures(folder=folder / "pictures", num_images=num_images, min_score=0.0)
    make_trainer(folder, callbacks=[callback]).validate(detection_module(data), datamodule=data, verbose=False)
    return sorted(path.name for path in (folder / "pictures").glob("*.jpg"))


@pytest.mark.parametrize(("num_images", "expected"), [(0, 0), (1, 1), (3, 3), (9, 5)])
def test_as_many_images_are_drawn_as_asked(cache: Path, tmp_path: Path, num_images: int, expected: int) -> None:
    assert validate(cache, tmp_path, num_images=num_images) == [f"val_{k}.jpg" for k in range(expected)]


def test_pictures_can_be_opened_and_are_replaced_by_the_next_validation(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "val_0.jpg").write_bytes(b"old")
    validate(cache, tmp_path, num_images=1)
    with Image.open(folder / "val_0.jpg") as image:
        assert image.size[0] > 2 * 64  # prediction and truth side by side


def test_images_and_their_boxes_lie_beside_as_data(cache: Path, tmp_path: Path) -> None:
    validate(cache, tmp_path, num_images=2)
    found = [read_scene(path) for path in sorted((tmp_path / "pictures" / "boxes").glob("*.json"))]
    assert len({scene.image_id for scene in found}) == 2
    for scene in found:
        assert list(scene.layers) == ["detections", "proposals", "layers"]
        assert scene.truth.boxes
        assert len(scene.layers["detections"].scores) > 0
        assert len(scene.layers["proposals"].owners) > 1  # the closest boxes are positive


def test_assigned_boxes_stand_below_where_there_is_a_criterion(cache: Path, tmp_path: Path) -> None:
    data, heights = shapes(cache), []
    for index in range(2):
        module = detection_module(data) if index == 0 else detection_module(data, criterion=None)
        callback = PredictionPictures(folder=tmp_path / str(index), num_images=1)
        trainer = make_trainer(tmp_path, callbacks=[callback])
        trainer.validate(module, datamodule=data, verbose=False)
        with Image.open(tmp_path / str(index) / "val_0.jpg") as image:
            heights.append(image.size[1])
    assert heights[0] > 1.9 * heights[1]


def test_a_sanity_check_draws_nothing(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    callback = PredictionPictures(folder=tmp_path / "pictures")
    trainer = make_trainer(tmp_path, callbacks=[callback], num_sanity_val_steps=1, limit_val_batches=1, max_steps=0)
    trainer.fit(detection_module(data), datamodule=data)
    assert not (tmp_path / "pictures").exists()


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pictures.num_images must be at least 0, got -1"):
        PredictionPictures(folder=tmp_path, num_images=-1)
    with pytest.raises(ValueError, match=r"pictures.min_score must be in \[0, 1\], got 30"):
        PredictionPictures(folder=tmp_path, min_score=30)
