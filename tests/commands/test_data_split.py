"""``deta data split``: parts of one annotation file."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands.running import Outcome, deta, fail, succeed
from tests.data.folders import annotation, document, image, write_image, write_json


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Twenty images of two objects each, three of which show the same picture."""
    images: list[Any] = [image(k, clip=k // 5, file_name=f"{'ab'[k % 2]}_{k:02}.png") for k in range(1, 21)]
    for k, each in enumerate(images):
        write_image(tmp_path / "images" / each["file_name"], seed=max(3, k))
    annotations = [
        annotation(2 * k + n, image_id=k, category_id=(3, 7)[n], note=f"{k}") for k in range(1, 21) for n in (0, 1)
    ]
    return write_json(tmp_path / "all.json", document(images, annotations, info={"year": 2020}))


def split(whole: Path, target: str, *words: str) -> Outcome:
    """Run the command on the file."""
    folders = (f"images={whole.parent / 'images'}", f"target={whole.parent / target}")
    return deta("data", "split", str(whole), *folders, *words)


def names_of(whole: Path, target: str) -> dict[str, set[str]]:
    """File names of the images of every part; those that are listed are those that are there."""
    parts = {}
    for path in sorted((whole.parent / target / "annotations").iterdir()):
        name = path.stem.removeprefix("instances_")
        parts[name] = {each["file_name"] for each in json.loads(path.read_text())["images"]}
        assert parts[name] == {file.name for file in (whole.parent / target / name).iterdir()}
    return parts


def test_all_images_are_parted_and_every_class_has_its_share(whole: Path) -> None:
    outcome = split(whole, "parted")
    assert outcome.code == 0, outcome.err
    parts = names_of(whole, "parted")
    assert {name: len(names) for name, names in parts.items()} == {"train2017": 16, "val2017": 4}
    assert not parts["train2017"] & parts["val2017"]
    assert "4 images in 1 set stay together (the same picture, copies by their names)" in outcome.out
    same = {"b_01.png", "a_02.png", "b_03.png", "a_04.png"}
    assert same <= parts["train2017"] or same <= parts["val2017"]
    table = outcome.out[outcome.out.index("                ") :].split()
    assert table[:12] == ["train", "val", "ant", "16", "80.0%", "4", "20.0%", "cat", "16", "80.0%", "4", "20.0%"]
    val = json.loads((whole.parent / "parted/annotations/instances_val2017.json").read_text())
    assert val["info"] == {"year": 2020}
    assert all(each["note"] == str(each["image_id"]) for each in val["annotations"])
    check = succeed("data", "check", "data=coco", f"data.root={whole.parent / 'parted'}").out
    assert "picture of the training that is in the validation too" not in check


def test_a_seed_decides_whatever_the_order_of_the_file(whole: Path) -> None:
    content = json.loads(whole.read_text())
    split(whole, "first", "seed=1")
    write_json(whole, {**content, "images": content["images"][::-1], "annotations": content["annotations"][::-1]})
    split(whole, "again", "seed=1")
    split(whole, "other", "seed=2")
    assert names_of(whole, "first") == names_of(whole, "again") != names_of(whole, "other")


def test_groups_by_field_and_by_name_stay_together(whole: Path) -> None:
    assert split(whole, "clips", "group_field=clip", "val=0.25").code == 0
    clips = {each["file_name"]: each["clip"] for each in json.loads(whole.read_text())["images"]}
    parts = names_of(whole, "clips")
    assert not {clips[name] for name in parts["train2017"]} & {clips[name] for name in parts["val2017"]}
    assert (
        "val gets none of 1 image or set of images that stay together" in split(whole, "x", "group_pattern=^(.)_").err
    )


def test_three_parts_may_be_asked_for(whole: Path) -> None:
    assert split(whole, "three", "val=0.2", "test=0.2", "stratify=false").code == 0
    assert {name: len(names) for name, names in names_of(whole, "three").items()} == {
        "test2017": 4,
        "train2017": 12,
        "val2017": 4,
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("test=0.8", "together below 1, got val=0.2 and test=0.8"),
        ("group_pattern=(", "group_pattern=( is no regular expression"),
        ("group_pattern=^(c)_", "group_pattern=^(c)_ does not fit the file name b_01.png"),
        ("group_field=video", "image 1 has no field 'video'"),
    ],
)
def test_a_word_that_is_wrong_is_one_message(whole: Path, word: str, message: str) -> None:
    outcome = split(whole, "x", word)
    assert (outcome.code, message in outcome.err) == (1, True), outcome.err
    assert not (whole.parent / "x").exists()


def test_a_file_and_a_folder_that_are_not_there_are_named_by_their_keys(whole: Path) -> None:
    assert "annotations=gone.json does not exist" in fail("data", "split", "gone.json", "images=x", "target=y")
    assert "images=gone is no folder" in fail("data", "split", str(whole), "images=gone", "target=y")


def test_a_data_set_with_errors_is_not_parted(whole: Path) -> None:
    (whole.parent / "images/b_01.png").unlink()
    outcome = split(whole, "x")
    assert "image file that does not exist: b_01.png" in outcome.out
    assert "has errors, which are listed above: nothing was written" in outcome.err


def test_a_class_that_a_part_lacks_is_told(whole: Path) -> None:
    content = json.loads(whole.read_text())
    rare = [each for each in content["annotations"] if each["category_id"] == 3 or each["image_id"] == 9]
    write_json(whole, {**content, "annotations": rare})
    assert "warning: val has no object of 1 class: cat" in split(whole, "rare").out


def test_what_was_imported_whole_is_parted_in_its_own_folder(whole: Path) -> None:
    root = whole.parent / "mine"
    (root / "annotations").mkdir(parents=True)
    shutil.copytree(whole.parent / "images", root / "all2017")
    shutil.copyfile(whole, root / "annotations/instances_all2017.json")
    words = (f"images={root}/all2017", f"target={root}")
    succeed("data", "split", f"{root}/annotations/instances_all2017.json", *words)
    assert "exists: remove it" in fail("data", "split", f"{root}/annotations/instances_all2017.json", *words)
    assert "The data set is usable." in succeed("data", "check", "data=coco", f"data.root={root}").out
