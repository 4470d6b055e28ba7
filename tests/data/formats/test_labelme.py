import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as masks

from deta.data.formats.labelme import read_labelme
from deta.data.formats.records import ForeignImage
from tests.data.formats.sources import faults, read, write_files
from tests.data.formats.writers import labelme_content, shape

CORNERS = [[25, 20], [5, 10]]


def png(pixels: Any) -> str:  # noqa: ANN401 - whatever NumPy takes
    """A picture as text."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def source(root: Path, *shapes: dict[str, object], **changes: Any) -> Path:  # noqa: ANN401 - JSON
    """One annotated image of 30 x 40 pixels."""
    return write_files(root, {"a.json": labelme_content(shapes, "a.png", **changes)}, images=("a.png",))


def image_of(root: Path, *shapes: dict[str, object], **options: Any) -> ForeignImage:  # noqa: ANN401 - of the reader
    """What is read of an image with these shapes."""
    dataset, _ = read(read_labelme, source(root, *shapes), **options)
    (image,) = dataset.splits["all"]
    return image


def test_a_rectangle_is_a_box_whatever_its_corners(tmp_path: Path) -> None:
    (each,) = image_of(tmp_path, shape("cat", CORNERS, "rectangle", description="left")).objects
    assert (each.category, each.box, each.area, each.outline) == ("cat", (5, 10, 20, 10), 200, [])
    assert each.attributes == {"shape_type": "rectangle", "description": "left"}


def test_a_polygon_keeps_its_corners_and_area(tmp_path: Path) -> None:
    (each,) = image_of(tmp_path, shape("cat", [[0.5, 0], [10.5, 0], [10.5, 8]], "polygon", flags={"old": True})).objects
    assert (each.box, each.area, each.outline) == ((0.5, 0, 10, 8), 40, [[0.5, 0, 10.5, 0, 10.5, 8]])
    assert each.attributes == {"shape_type": "polygon", "flags": {"old": True}}


def test_a_circle_has_the_box_around_it_and_keeps_its_points(tmp_path: Path) -> None:
    (each,) = image_of(tmp_path, shape("cat", [[20, 15], [23, 19]], "circle")).objects
    attributes = {"shape_type": "circle", "points": [(20, 15), (23, 19)]}
    assert (each.box, each.attributes) == ((15, 10, 10, 10), attributes)
    assert each.area == pytest.approx(math.pi * 25, rel=2e-3)  # of a polygon with 64 corners


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11
def test_a_mask_is_kept_pixel_by_pixel(tmp_path: Path) -> None:
    pixels = np.array([[1, 0, 1], [1, 1, 0]], dtype=bool)
    image = image_of(tmp_path, shape("cat", [[4, 6], [6, 7]], "mask", mask=png(pixels)))
    (each,) = image.objects
    whole = masks.decode(each.fields["segmentation"])
    assert whole.shape == (30, 40)
    assert (whole[6:8, 4:7] == pixels).all()
    assert (whole.sum(), each.area, each.box) == (4, 4, (4, 6, 3, 2))


def test_shapes_of_one_label_and_group_are_one_object(tmp_path: Path) -> None:
    left, right = [[0, 0], [4, 0], [4, 4]], [[10, 10], [14, 10], [14, 14]]
    shapes = [shape("cat", points, "polygon", group_id=3, description=f"{k}") for k, points in enumerate((left, right))]
    dataset, told = read(read_labelme, source(tmp_path, *shapes, shape("ant", left, "polygon", group_id=3)))
    cat, ant = dataset.splits["all"][0].objects
    assert (cat.box, cat.area, len(cat.outline)) == ((0, 0, 14, 14), 16, 2)
    assert cat.attributes == {
        "group_id": 3,
        "shapes": [{"shape_type": "polygon", "description": text} for text in ("0", "1")],
    }
    assert (ant.category, ant.area) == ("ant", 8)
    assert told == "1 x image in which shapes of one group_id are one object: a.json"


def test_a_group_with_a_mask_is_one_mask(tmp_path: Path) -> None:
    shapes = [
        shape("cat", [[0, 0], [1, 1]], "mask", group_id=1, mask=png(np.ones((2, 2), bool))),
        shape("cat", [[10, 10], [20, 20]], "rectangle", group_id=1),
    ]
    (each,) = image_of(tmp_path, *shapes).objects
    assert (each.area, each.box) == (4 + 100, (0, 0, 20, 20))


def test_a_shape_without_area_is_counted_and_kept_with_its_image(tmp_path: Path) -> None:
    shapes = [shape("cat", CORNERS, kind) for kind in ("line", "rectangle")] + [shape("nose", [[1, 2]], "point")]
    dataset, told = read(read_labelme, source(tmp_path, *shapes, flags={"night": True}))
    (image,) = dataset.splits["all"]
    assert len(image.objects) == 1
    assert image.attributes["flags"] == {"night": True}
    assert [(each["label"], each["shape_type"]) for each in image.attributes["shapes"]] == [
        ("cat", "line"),
        ("nose", "point"),
    ]
    assert "1 x shape of type point without an area, no object, kept among the attributes of its image: a.json" in told
    assert list(dataset.categories) == ["cat"]


def test_difficult_shapes_are_crowds(tmp_path: Path) -> None:
    (each,) = image_of(tmp_path, shape("cat", CORNERS, "rectangle", difficult=True)).objects
    assert (each.is_crowd, each.attributes["difficult"]) == (True, True)


@pytest.mark.parametrize("path", ["a.png", "..\\images\\a.png", "C:\\Users\\me\\a.png", "../../out/a.png", "old.png"])
def test_the_image_is_found_by_the_path_in_the_file_or_its_name(tmp_path: Path, path: str) -> None:
    content = labelme_content([shape("cat", CORNERS, "rectangle")], path)
    dataset, _ = read(read_labelme, write_files(tmp_path, {"json/a.json": content}, images=("images/a.png",)))
    assert [image.name for image in dataset.splits["all"]] == ["images/a.png"]


def test_a_picture_inside_of_the_file_is_taken_where_there_is_no_other(tmp_path: Path) -> None:
    picture = png(np.zeros((30, 40, 3), np.uint8))
    shapes = [shape("cat", CORNERS, "rectangle")]
    files = {
        "a.json": labelme_content(shapes, "a.png", imageData=picture),
        "b.json": labelme_content(shapes, "..\\out\\b.png", imageData=picture),
        "lost.json": labelme_content(shapes, "lost.png"),
        "package.json": {"name": "x"},
    }
    dataset, told = read(read_labelme, write_files(tmp_path, files, images=("a.png", "bare.png")))
    assert [(image.name, image.content) for image in dataset.splits["all"]] == [
        ("a.png", None),
        ("b.png", base64.b64decode(picture)),
    ]
    assert "1 x picture inside of the JSON beside the file of the image, which is taken: a.json" in told
    assert "1 x image that is inside of its JSON alone, taken from there: b.png" in told
    assert "1 x annotation without an image, left out: lost.json: lost.png" in told
    assert "1 x JSON that is no annotation of LabelMe, left out: package.json" in told
    assert "left out (unlabelled=true takes it as one without objects): bare.png" in told


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"shapes": [shape("", CORNERS, "rectangle")]}, "shape that is not as LabelMe writes it: a.json, shape 0"),
        (
            {"shapes": [shape("cat", [[1, "x"], [2, 2]], "rectangle")]},
            "got `str` - at `$.points[0][1]`",
        ),
        ({"shapes": [shape("cat", [[1, 1e12], [2, 2]], "rectangle")]}, "shape that is not as LabelMe writes it"),
        ({"shapes": {}}, "file whose shapes are not a list of objects"),
        ({"imageHeight": 31}, "a.png has 30 x 40, its annotation says 31 x 40"),
        ({"imageHeight": -30}, "imageHeight or imageWidth that is no number of pixels: a.json"),
        (
            {"shapes": [shape("cat", [[0, 0], [1, 1]], "mask", mask="no picture")]},
            "mask that cannot be read",
        ),
        (
            {"shapes": [shape("cat", [[39, 0], [40, 1]], "mask", mask=png(np.ones((2, 2), bool)))]},
            "its 2 x 2 pixels from (39, 0) on leave the image",
        ),
        ({"imagePath": "b.png", "imageData": "no picture"}, "imageData that is not text in base 64: b.json"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_fault(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    content = {**labelme_content([], "a.png"), **changes}
    name = "b.json" if "imagePath" in changes else "a.json"
    assert fault in faults(read_labelme, write_files(tmp_path, {name: content}, images=("a.png",)))


def test_a_file_that_is_not_json_is_a_fault(tmp_path: Path) -> None:
    root = write_files(tmp_path, {"a.json": json.dumps(labelme_content([], "a.png"))[:-1]}, images=("a.png",))
    assert "file that is not a JSON object" in faults(read_labelme, root)
