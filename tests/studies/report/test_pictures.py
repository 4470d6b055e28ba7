"""Images and boxes inside the page."""

import base64
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from deta.drawing.scene import BoxLayer, Corners, Scene
from deta.runs.state import RunState
from deta.studies.report.pictures import NUM_IMAGES, WIDTH, pictures
from tests.studies.report.making import run, training

BOX: Corners = (0.1, 0.2, 0.3, 0.4)


def scene(number: int = 0, *, classes: tuple[str, ...] = ("cat",), objects: Corners = BOX, **layers: BoxLayer) -> Scene:
    found = {"detections": BoxLayer([BOX], [len(classes) - 1], [0.5])}
    return Scene(number, list(classes), BoxLayer([objects], [0]), [], found | layers)


def draw(folder: Path, *scenes: Scene) -> Path:
    """A run directory with these scenes, each in an image that is wider than the page shows."""
    boxes = folder / "pictures" / "boxes"
    boxes.mkdir(parents=True)
    for each in scenes:
        Image.new("RGB", (2 * WIDTH, 300), "red").save(boxes / f"val_{each.image_id}.jpg")
        (boxes / f"val_{each.image_id}.json").write_text(json.dumps(asdict(each)))
    return folder


def test_an_image_stands_once_and_small_whoever_has_it(tmp_path: Path) -> None:
    groups = [
        training(run(folder=draw(tmp_path / name, scene())), cells=(k,), label=name) for k, name in enumerate("ab")
    ]
    content = pictures(groups).to_json(groups)
    (image,) = content["images"]
    decoded = Image.open(io.BytesIO(base64.b64decode(image["source"].partition(",")[2])))
    assert decoded.size == (WIDTH, 150)
    assert image["ratio"] == 150 / WIDTH
    assert [(found["training"], found["seed"]) for found in image["found"]] == [(0, 0), (1, 0)]
    assert [each["label"] for each in content["trainings"]] == ["a", "b"]


def test_classes_are_those_of_all_scenes_and_rows_point_to_them(tmp_path: Path) -> None:
    first = training(run(folder=draw(tmp_path / "a", scene(classes=("dog", "owl")))))
    second = training(run(folder=draw(tmp_path / "b", scene(classes=("dog", "cat")))), cells=(1,))
    content = pictures([first, second]).to_json([first, second])
    assert content["classes"] == ["cat", "dog", "owl"]
    rows = [found["layers"]["detections"] for found in content["images"][0]["found"]]
    assert rows == [[[*BOX, 2, 0.5]], [[*BOX, 0, 0.5]]]
    assert content["images"][0]["truth"] == [[*BOX, 1, 0]]


def test_the_switch_offers_what_a_scene_has_in_the_order_of_the_network(tmp_path: Path) -> None:
    assigned = BoxLayer([BOX], [0], owners=[0])
    further: dict[str, Any] = {"further/layers": assigned}
    own = scene(layers=assigned, proposals=assigned, **further)
    found = pictures([training(run(folder=draw(tmp_path, own)))])
    assert found.layers == {"detections": "detections", "proposals": "first stage", "layers": "decoder"}
    assert "further/layers" not in found.to_json([])["images"][0]["found"][0]["layers"]


def test_images_with_other_objects_are_other_images(tmp_path: Path) -> None:
    first = training(run(folder=draw(tmp_path / "a", scene())))
    second = training(run(folder=draw(tmp_path / "b", scene(objects=(0.5, 0.5, 0.6, 0.6)))), cells=(1,))
    assert len(pictures([first, second]).images) == 2


def test_every_training_shows_the_first_of_its_runs_that_is_done(tmp_path: Path) -> None:
    failed = run(folder=draw(tmp_path / "a", scene(0)), state=RunState.FAILED)
    done = run(folder=draw(tmp_path / "b", scene(0), scene(1)), seed=1)
    other = run(folder=draw(tmp_path / "c", scene(1)), seed=0)
    found = pictures([training(failed, done), training(other, cells=(1,), label="other")])
    assert [(image.name, [each.seed for each in image.findings]) for image in found.images] == [
        ("val_1", [1, 0]),
        ("val_0", [1]),
    ]


def test_images_are_counted_as_numbers_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    found = pictures([training(run(folder=draw(tmp_path, *(scene(k) for k in range(11)))))])
    assert [image.name for image in found.images] == [f"val_{k}" for k in range(NUM_IMAGES)]
    assert found.notes == ("3 further images left out: a page shows 8.",)


def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    whole = training(run(folder=draw(tmp_path / "a", scene(0), scene(1))))
    (tmp_path / "a" / "pictures" / "boxes" / "val_1.json").write_text("{")
    older = run(folder=tmp_path / "b")
    (tmp_path / "b" / "pictures").mkdir(parents=True)
    (tmp_path / "b" / "pictures" / "val_0.jpg").touch()
    found = pictures([whole, training(older, cells=(1,), label="tau=0.5")])
    assert len(found.images) == 1
    assert [note.partition(str(tmp_path))[0] for note in found.notes] == [
        "Left out: ",
        "Without pictures: tau=0.5.",
        "1 training has pictures without their boxes as data, from before these were kept.",
    ]
    (tmp_path / "a" / "pictures" / "boxes" / "val_0.jpg").write_bytes(b"no image")
    assert pictures([whole]).images == ()


def test_without_pictures_there_are_none(tmp_path: Path) -> None:
    assert pictures([training(run(folder=tmp_path))]).images == ()
    assert pictures([]).images == ()
