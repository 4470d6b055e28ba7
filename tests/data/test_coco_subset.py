import json
from pathlib import Path

import pytest

from deta.data.coco_subset import image_fields, parted_documents
from tests.data.folders import annotation, document, image, write_json


def test_every_row_goes_to_its_part_with_all_its_fields(tmp_path: Path) -> None:
    images = [image(1, video_id=7, license=3), image(2, video_id=8)]
    annotations = [annotation(1, image_id=2, attributes={"occluded": True}), annotation(2, image_id=1)]
    path = write_json(tmp_path / "all.json", document(images, annotations, info={"year": 2020}, licenses=[]))
    parts = {name: json.loads(text) for name, text in parted_documents(path, {1: "train", 2: "val"}).items()}
    whole = json.loads(path.read_text())
    assert parts["train"] == {**whole, "images": [images[0]], "annotations": [annotations[1]]}
    assert parts["val"] == {**whole, "images": [images[1]], "annotations": [annotations[0]]}


def test_a_field_that_an_image_lacks_is_refused(tmp_path: Path) -> None:
    path = write_json(tmp_path / "all.json", document([image(1, video_id=7), image(2)]))
    assert image_fields(path, "file_name") == {1: "1.png", 2: "2.png"}
    with pytest.raises(ValueError, match="image 2 has no field 'video_id'; it has id, file_name, height, width"):
        image_fields(path, "video_id")
