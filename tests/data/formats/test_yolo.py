import re
from pathlib import Path

import pytest
from PIL import Image

from deta.data.formats.yolo import label_name, read_yolo
from tests.data.formats.sources import faults, read, write_files

DATA = "train: images/train\nval: images/val\nnames: [cat, ant]\n"
TRAIN, VAL = "images/train/a.png", "images/val/b.png"


def source(root: Path, labels: str = "0 0.5 0.5 0.25 0.2\n", *, data: str = DATA) -> Path:
    """Two splits of one image of 30 x 40 pixels each, the first with these labels."""
    files = {"data.yaml": data, "labels/train/a.txt": labels, "labels/val/b.txt": "1 0.5 0.5 1 1\n"}
    return write_files(root, files, images=(TRAIN, VAL))


def test_a_row_of_five_numbers_is_a_box_around_its_centre(tmp_path: Path) -> None:
    dataset, told = read(read_yolo, source(tmp_path))
    (image,) = dataset.splits["train"]
    (each,) = image.objects
    assert (image.name, image.size) == (TRAIN, (30, 40))
    assert (each.category, each.box, each.area, each.outline) == (0, (15, 12, 10, 6), 60, [])
    assert dataset.categories == {0: {"id": 0, "name": "cat"}, 1: {"id": 1, "name": "ant"}}
    assert told == ""


def test_a_longer_row_is_a_polygon_with_its_own_area(tmp_path: Path) -> None:
    dataset, _ = read(read_yolo, source(tmp_path, "1 0.25 0.2 0.75 0.2 0.75 0.6\n0 0.5 0.5 0.5 0.5\n"))
    triangle, box = dataset.splits["train"][0].objects
    assert triangle.outline == [[10, 6, 30, 6, 30, 18]]
    assert (triangle.box, triangle.area) == ((10, 6, 20, 12), 120)
    assert box.outline == []


def test_names_by_number_may_have_gaps(tmp_path: Path) -> None:
    data = DATA.replace("[cat, ant]", "{7: ant, 0: cat, 1: 2007}")
    dataset, _ = read(read_yolo, source(tmp_path, "7 0.5 0.5 0.5 0.5\n", data=data))
    assert list(dataset.categories.values()) == [
        {"id": 0, "name": "cat"},
        {"id": 1, "name": "2007"},
        {"id": 7, "name": "ant"},
    ]


def test_key_points_and_their_visibility_are_those_of_coco(tmp_path: Path) -> None:
    data = f"{DATA}kpt_shape: [2, 3]\n"
    labels = "0 0.5 0.5 0.5 0.5 0.25 0.5 2 0 0 0\n"
    files = {"data.yaml": data, "labels/train/a.txt": labels}
    dataset, _ = read(read_yolo, write_files(tmp_path, files, images=(TRAIN, VAL)))
    (each,) = dataset.splits["train"][0].objects
    assert each.fields == {"keypoints": [10, 15, 2, 0, 0, 0], "num_keypoints": 1}
    assert dataset.categories[0]["keypoints"] == ["1", "2"]
    assert dataset.info == {"data.yaml": {"kpt_shape": [2, 3]}}


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ("train: [images/train]\nval: ./images/val", ""),
        ("path: .\ntrain: images/train\nval: images/val/", ""),
        ("path: /content/set\ntrain: images/train\nval: images/val", "'path' is no folder here"),
        ("train: ../train/../images/train\nval: /content/set/images/val", "/content/set/images/val as images/val"),
        ("train: train.txt\nval: lists/val.txt\ntest:", ""),
        ("train: images/train\nvalid: images/val", ""),
    ],
)
def test_splits_are_found_where_the_description_means_them(tmp_path: Path, entries: str, told: str) -> None:
    lists = {"train.txt": "./images/train/a.png\n\n", "lists/val.txt": "/content/set/images/val/b.png\n"}
    root = write_files(source(tmp_path, data=f"{entries}\nnames: [cat, ant]\n"), lists)
    dataset, notes = read(read_yolo, root)
    assert {name: [image.name for image in images] for name, images in dataset.splits.items()} == {
        "train": [TRAIN],
        "val": [VAL],
    }
    assert told in notes


def test_a_folder_of_labelimg_is_one_split(tmp_path: Path) -> None:
    files = {"classes.txt": "cat\nant\n", "a.txt": "1 0.5 0.5 0.5 0.5\n", "b.txt": ""}
    dataset, told = read(read_yolo, write_files(tmp_path, files, images=("a.png", "b.png")))
    assert [len(image.objects) for image in dataset.splits["all"]] == [1, 0]
    assert told == "1 x label file without a row, the image is taken as one without objects: b.txt"


def test_an_empty_line_between_names_is_refused_since_lines_are_counted(tmp_path: Path) -> None:
    files = {"classes.txt": "cat\n\nant\n", "a.txt": "1 0.5 0.5 0.5 0.5\n"}
    with pytest.raises(ValueError, match=r"empty line between names of classes.*classes\.txt, line 2"):
        read(read_yolo, write_files(tmp_path, files, images=("a.png",)))


def test_what_has_no_partner_is_counted_and_named(tmp_path: Path) -> None:
    files = {"labels/train/lost.txt": "0 0.5 0.5 0.5 0.5\n", "labels/train/twice.txt": "0 0.5 0.5 0.5 0.5\n" * 2}
    images = ("images/train/bare.png", "images/train/twice.png", "images/other.png")
    root = write_files(source(tmp_path), files, images=images)
    dataset, told = read(read_yolo, root)
    assert {image.name: len(image.objects) for image in dataset.splits["train"]} == {
        TRAIN: 1,
        "images/train/bare.png": 0,
        "images/train/twice.png": 2,
    }
    assert "1 x label file without an image, left out: labels/train/lost.txt" in told
    assert "1 x image without annotations, taken as one without objects: images/train/bare.png" in told
    assert "1 x image in no split that is taken, left out: images/other.png" in told
    assert "1 x label file with a row twice: both are kept: labels/train/twice.txt" in told
    without, _ = read(read_yolo, root, unlabelled=False)
    assert [image.name for image in without.splits["train"]] == [TRAIN, "images/train/twice.png"]


def test_boxes_are_shares_of_the_upright_image(tmp_path: Path) -> None:
    root = source(tmp_path)
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 30)).save(root / "images/train/a.png", exif=exif)
    dataset, _ = read(read_yolo, root)
    (image,) = dataset.splits["train"]
    assert (image.size, image.objects[0].box) == ((40, 30), (11.25, 16, 7.5, 8))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("0 0.5 0.5 0.5 0.5 0.9", "row of six numbers: a detection with its score?"),
        ("0 0.5 0.5 0.5", "neither a box of 4 numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "nor a polygon of at least 3 points"),
        ("2 0.5 0.5 0.5 0.5", "class number that is not among the names: labels/train/a.txt, line 2: 2"),
        ("0.5 0.5 0.5 0.5 0.5", "class number that is not among the names"),
        ("0 15 12 10 6", "outside of 0..1: boxes are shares of the image, not pixels"),
        ("0 nan 0.5 0.5 0.5", "outside of 0..1"),
        ("cat 0.5 0.5 0.5 0.5", "row that is not numbers: labels/train/a.txt, line 2: cat 0.5 0.5 0.5 0.5"),
    ],
)
def test_a_row_that_is_no_label_is_a_fault_at_its_line(tmp_path: Path, row: str, fault: str) -> None:
    assert fault in faults(read_yolo, source(tmp_path, f"0 0.5 0.5 0.5 0.5\n{row}\n"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("train: images/train\nnames: cat", "names must be a list of texts, or texts by class number, got 'cat'"),
        (
            "train: images/train\nnames: [no, cat]",
            "not a text by a number from 0: data.yaml: 0: False",
        ),
        ("train: images/train\nnames: {-1: cat}", "not a text by a number from 0: data.yaml: -1: 'cat'"),
        ("train: images/nowhere\nnames: [cat]", "split that does not exist: data.yaml: train: 'images/nowhere'"),
        ("train: ../../../etc\nnames: [cat]", "split that does not exist"),
        ("train: images/train\nnames: [cat]\nnc: 2", "'nc' that is not the number of names: data.yaml: 2 and 1"),
        ("train: images/train\nnames: [cat]\nkpt_shape: [2, 4]", "kpt_shape that is not [number, 2 or 3]"),
        ("a: &a [b, b]\nnames: [*a, *a]", "is damaged: no plain YAML"),
    ],
)
def test_a_description_that_cannot_be_followed_is_refused(tmp_path: Path, data: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read(read_yolo, source(tmp_path, data=data))


def test_a_list_names_images_of_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    root = write_files(source(tmp_path / "set", data="train: l.txt\nnames: [cat]"), {"l.txt": "../secret.png\n"})
    with pytest.raises(ValueError, match=r"image in a list that does not exist: l.txt: ../secret.png"):
        read(read_yolo, root)


def test_one_file_describes_the_data_set(tmp_path: Path) -> None:
    root = write_files(source(tmp_path), {"other.yaml": "a: &a [b]\nnames: *a\n"})
    assert set(read(read_yolo, root)[0].splits) == {"train", "val"}
    (root / "data.yaml").rename(root / "mine.yaml")
    (root / "other.yaml").write_text("names: [cat]\n")
    with pytest.raises(ValueError, match=r"has several descriptions, mine\.yaml, other\.yaml: call the right one data"):
        read(read_yolo, root)


def test_a_folder_without_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it needs data\.yaml with 'names', or classes\.txt"):
        read(read_yolo, write_files(tmp_path, {"labels/a.txt": ""}, images=("images/a.png",)))


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/train/a.b.png", "labels/train/a.b.txt"),
        ("train/images/a.png", "train/labels/a.txt"),
        ("images/images/a.png", "images/labels/a.txt"),
        ("photos/a.png", "photos/a.txt"),
        ("images.png", "images.txt"),
    ],
)
def test_labels_lie_in_place_of_the_last_folder_of_images(image: str, label: str) -> None:
    assert label_name(image) == label
