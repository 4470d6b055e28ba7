"""An image and its boxes as data."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from deta.drawing.scene import DETECTIONS, BoxLayer, read_scene, scene_of, write_scene
from deta.structures import Matches, Prediction
from tests.drawing.test_boxes import NAMES, scene

REFERENCES = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.9, 0.5, 0.6, 0.6], [0.2, 0.2, 0.1, 0.1]]])


def written(folder: Path) -> Path:
    batch, detections = scene()
    assigned = Prediction(torch.zeros(1, 3, 1), REFERENCES, REFERENCES)
    made = scene_of(batch, 0, detections, [("layers", assigned, Matches(torch.tensor([[0, 0, -1]])))], names=NAMES)
    write_scene(made, batch, 0, folder, "val_0")
    return folder / "val_0.json"


def test_boxes_are_fractions_of_the_image_whatever_they_came_from(tmp_path: Path) -> None:
    found = read_scene(written(tmp_path))
    assert found.image_id == 7
    assert found.truth.boxes == [(0.4, 0.4, 0.6, 0.6)]
    assert found.layers[DETECTIONS].boxes == [(0.4, 0.4, 0.6, 0.6), (0.02, 0.025, 0.06, 0.075)]
    assert found.layers[DETECTIONS].scores == [0.9, 0.1]  # without the padding
    assert found.layers["layers"].boxes == [(0.3, 0.3, 0.7, 0.7), (0.6, 0.2, 1.0, 0.8)]  # cut at the border
    assert found.layers["layers"].owners == [0, 0]
    assert found.ignored == [(0.0, 0.7, 0.2, 1.0)]


def test_labels_are_places_among_the_classes_that_boxes_have(tmp_path: Path) -> None:
    found = read_scene(written(tmp_path))
    assert found.classes == ["cat", "dog"]
    assert (found.truth.labels, found.layers[DETECTIONS].labels, found.layers["layers"].labels) == ([1], [1, 0], [1, 1])


def test_the_image_beside_it_has_neither_padding_nor_boxes(tmp_path: Path) -> None:
    with Image.open(written(tmp_path).with_suffix(".jpg")) as image:
        assert image.size == (500, 400)
        assert image.getcolors() is not None
        assert len(image.getcolors() or []) == 1


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("truth", "labels"), [5], "labels must be places in the 2 classes"),
        (("truth", "labels"), [], "labels must be one for each of 1 boxes, got 0"),
        (("layers", "layers", "owners"), [0, 1], "owners must be places in the 1 objects"),
        (("layers", DETECTIONS, "scores"), [0.5, float("nan")], "boxes must hold numbers in 0..1"),
        (("ignored",), [[0, 0, 2, 1]], "ignored must hold numbers in 0..1"),
        (("classes",), [1], "Expected `str`"),
    ],
)
def test_what_no_page_could_draw_is_refused(
    tmp_path: Path, place: tuple[str, ...], value: object, message: str
) -> None:
    path = written(tmp_path)
    content = json.loads(path.read_text())
    node = content
    for name in place[:-1]:
        node = node[name]
    node[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"val_0.json is damaged: .*{message}"):
        read_scene(path)


def test_the_best_detections_are_kept() -> None:
    batch, _ = scene()
    boxes = torch.tensor([10.0, 10, 20, 20]).expand(1, 150, 4)
    _, detections = scene()
    many = replace(
        detections,
        boxes=boxes,
        scores=torch.linspace(0, 1, 150)[None],
        labels=torch.zeros(1, 150, dtype=torch.int64),
        is_detection=torch.ones(1, 150, dtype=torch.bool),
    )
    scores = scene_of(batch, 0, many, [], names=NAMES).layers[DETECTIONS].scores
    assert (len(scores), scores[0]) == (100, 1.0)
    assert scores[-1] == pytest.approx(50 / 149, abs=1e-4)


def test_a_layer_without_a_box_is_one() -> None:
    assert BoxLayer([], []).boxes == []
