from pathlib import Path

import pytest
from PIL import Image

from deta.data import Categories, check_dataset, read_coco, write_checksums
from deta.data.checks import shared_pictures
from tests.data.folders import annotation, document, image, write_dataset, write_image, write_json


def test_sound_data_set_has_counts_and_no_errors(shared: Path) -> None:
    folder = shared / "data/bccd"
    report = check_dataset(folder / "annotations/instances_val.json", folder / "images", num_workers=2)
    assert report.is_usable
    assert report.num_decoded == 87
    assert report.categories == Categories(ids=(1, 7, 90), names=("RBC", "WBC", "Platelets"))
    assert report.objects_per_class == {"RBC": 967, "WBC": 87, "Platelets": 83}
    assert report.objects_per_size == {"small": 9, "medium": 374, "large": 754}


def test_every_bad_image_is_found_in_one_pass(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, num_images=6)
    (tmp_path / "train/2.png").unlink()
    (tmp_path / "train/4.png").write_bytes(b"<html>")
    write_image(tmp_path / "train/5.png", height=99)
    report = check_dataset(path, tmp_path / "train", num_workers=2)
    assert not report.is_usable
    assert report.num_decoded == 3
    assert report.errors[0] == "1 x image file that does not exist: 2.png"
    assert report.errors[1].startswith("2 x image that cannot be used")
    assert "4.png" in report.errors[1]
    assert "5.png" in report.errors[1]


def test_faults_of_the_annotations_are_errors(tmp_path: Path) -> None:
    path = write_json(tmp_path / "train.json", document(annotations=[annotation(image_id=77)]))
    report = check_dataset(path, tmp_path)
    assert not report.is_usable
    first, second, third = report.lines()
    assert (first, second) == (str(path), f"  error: {path} cannot be used:")
    assert third.startswith("    1 x annotation")
    assert "image_id is not among the images" in third


def test_missing_annotation_file_is_an_error(tmp_path: Path) -> None:
    assert "does not exist" in check_dataset(tmp_path / "nowhere.json", tmp_path).errors[0]


def test_split_with_other_categories_is_an_error(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, num_images=1)
    report = check_dataset(path, tmp_path / "train", categories=Categories(ids=(3,), names=("ant",)))
    assert "other categories" in report.errors[0]


def test_oddities_are_warnings(tmp_path: Path) -> None:
    path = write_json(tmp_path / "train.json", document([image(1), image(2)]))
    write_image(tmp_path / "1.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(tmp_path / "1.png") as picture:
        picture.convert("L").save(tmp_path / "2.png", exif=turned)
    report = check_dataset(path, tmp_path)
    assert report.is_usable
    assert report.warnings == [
        "1 x image of mode L, which is converted to RGB: 2.png",
        "1 x image with an EXIF orientation, which is ignored to match the annotations: 2.png",
    ]


def test_damage_that_decodes_is_found_by_checksums(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, num_images=3)
    sums = tmp_path / "sums.txt"
    write_checksums(read_coco(path), tmp_path / "train", sums)
    assert check_dataset(path, tmp_path / "train", checksums=sums).is_usable
    write_image(tmp_path / "train/2.png", height=26, width=34, seed=99)
    report = check_dataset(path, tmp_path / "train", checksums=sums)
    assert report.errors == ["1 x image whose checksum differs: 2.png"]


def test_image_without_checksum_is_an_error(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, num_images=1)
    (tmp_path / "sums.txt").write_text("")
    report = check_dataset(path, tmp_path / "train", checksums=tmp_path / "sums.txt")
    assert report.errors == ["1 x image without checksum: 1.png"]


def test_file_of_checksums_in_another_layout_is_refused(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, num_images=1)
    (tmp_path / "sums.txt").write_text("abc\n")
    with pytest.raises(ValueError, match="checksum and file name"):
        check_dataset(path, tmp_path / "train", checksums=tmp_path / "sums.txt")


def test_classes_of_one_name_are_counted_apart(tmp_path: Path) -> None:
    categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "cat"}, {"id": 5, "name": "ant"}]
    content = document(annotations=[annotation(1), annotation(2), annotation(3, category_id=7)], categories=categories)
    report = check_dataset(write_json(tmp_path / "train.json", content), tmp_path)
    assert report.objects_per_class == {"cat (id 3)": 2, "ant": 0, "cat (id 7)": 1}


def test_test_images_without_labels_are_accepted_on_request_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    content = document()
    del content["annotations"]
    path = write_json(tmp_path / "test.json", content)
    assert not check_dataset(path, tmp_path).is_usable
    report = check_dataset(path, tmp_path, allow_unlabelled=True)
    assert report.is_usable
    assert report.num_decoded == 1


def test_a_split_of_crowds_alone_is_an_error(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    path = write_json(tmp_path / "train.json", document(annotations=[annotation(iscrowd=1)]))
    assert "split without one object" in check_dataset(path, tmp_path).errors[0]
    outside = write_json(tmp_path / "outside.json", document(annotations=[annotation(bbox=[90, 90, 5, 5])]))
    assert "split without one object" in check_dataset(outside, tmp_path).errors[0]


def test_what_the_boxes_betray_is_a_warning(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    path = write_json(tmp_path / "train.json", document(annotations=[annotation(bbox=[0.2, 0.2, 0.5, 0.5], area=0.25)]))
    report = check_dataset(path, tmp_path)
    assert report.is_usable
    assert "normalised" in report.warnings[0]


def test_a_file_under_two_ids_is_a_warning_with_both(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    images = [image(1), image(2, file_name="./1.png")]
    report = check_dataset(write_json(tmp_path / "train.json", document(images)), tmp_path)
    assert report.warnings == ["1 x image file listed under several ids: 1.png (ids 1, 2)"]


def test_equal_pictures_under_two_names_are_a_warning_with_both(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    with Image.open(tmp_path / "1.png") as picture:
        picture.save(tmp_path / "2.bmp")  # another file, the same pixels
    images = [image(1), image(2, file_name="2.bmp")]
    report = check_dataset(write_json(tmp_path / "train.json", document(images)), tmp_path)
    assert report.warnings == ["1 x image with the same pixels as another: 2.bmp as 1.png"]


def test_a_picture_in_both_splits_is_named_with_both_places(tmp_path: Path) -> None:
    write_image(tmp_path / "train/1.png", seed=1)
    write_image(tmp_path / "val/7.png", seed=1)
    write_image(tmp_path / "val/8.png", seed=2)
    train = check_dataset(write_json(tmp_path / "train.json", document()), tmp_path / "train")
    images = [image(1, file_name="7.png"), image(2, file_name="8.png")]
    val = check_dataset(write_json(tmp_path / "val.json", document(images)), tmp_path / "val")
    (line,) = shared_pictures(train, val)
    assert line.startswith("1 x picture of the training that is in the validation too")
    assert f"{tmp_path / 'train/1.png'} and {tmp_path / 'val/7.png'}" in line
    assert shared_pictures(val, train) != []
    (same,) = shared_pictures(train, train)
    assert same.endswith(str(tmp_path / "train/1.png"))
