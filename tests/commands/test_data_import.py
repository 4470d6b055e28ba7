"""``deta data import``: what it writes, what it says, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.commands.running import deta, fail, succeed
from tests.data.folders import write_image
from tests.data.formats.sources import write_files

DATA = "train: images/train\nval: images/val\nnames: [cat, ant]\n"


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Two splits of one image each."""
    labels = {f"labels/{split}/{split}.txt": "1 0.5 0.5 0.5 0.5\n" for split in ("train", "val")}
    images = ("images/train/train.png", "images/val/val.png", "images/val/bare.png")
    return write_files(tmp_path / "my set", {"data.yaml": DATA, **labels}, images=images)


def test_a_folder_is_imported_checked_and_read_without_further_words(yolo: Path) -> None:
    target = yolo.with_name("coco")
    outcome = succeed("data", "import", str(yolo), f"target={target}")
    assert outcome.out.splitlines()[:2] == [
        f"{yolo}: read as YOLO",
        "  1 x image without annotations, taken as one without objects: images/val/bare.png",
    ]
    assert "2 images (1 without objects), 1 annotation (0 crowds)" in outcome.out
    assert outcome.out.endswith(f"The data set is usable.\nEvery command reads it by data=coco data.root={target}\n")
    assert (target / "val2017/val.png").stat().st_ino == (yolo / "images/val/val.png").stat().st_ino
    assert "The data set is usable." in succeed("data", "check", "data=coco", f"data.root={target}").out


def test_the_format_may_be_said_and_images_linked(yolo: Path) -> None:
    target = yolo.with_name("coco")
    words = ("data", "import", "source=yolo", f"folder={yolo}", f"target={target}", "transfer=symlink")
    outcome = succeed(*words, "splits={train: val}")
    assert outcome.out.count(".json\n") == 1
    assert (target / "train2017/val.png").readlink() == yolo / "images/val/val.png"
    assert "Part it into training and validation: deta data split" in outcome.out
    assert "instances_train2017.json exists: remove it, or name another target" in fail(*words)


def test_faults_are_listed_and_nothing_is_written(yolo: Path) -> None:
    (yolo / "labels/val/val.txt").write_text("5 0.5 0.5 0.5 0.5\n1 20 30 40 50\n")
    message = fail("data", "import", f"source={yolo}", f"target={yolo}_coco")
    assert "1 x class number that is not among the names: labels/val/val.txt, line 1: 5" in message
    assert "1 x row with a number outside of 0..1: boxes are shares of the image, not pixels" in message
    assert not Path(f"{yolo}_coco").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["source=coco"], "source must be auto or one of yolo, voc, labelme beside folder=, got 'coco'"),
        (["folder=null"], "folder has no value yet: deta data import <folder> target=<folder>"),
        (["target=inside"], "target=inside lies in the folder that is read: name one beside it"),
        (["splits=train"], "splits must be a mapping such as {train: trainval, val: test}, got 'train'"),
        (["splits={train: trainval}"], "splits: the source has no 'trainval'; it has train, val"),
        (["transfer=move"], "transfer must be one of copy, hardlink, symlink, got 'move'"),
        (["folder=nowhere"], "folder=nowhere does not exist"),
    ],
)
def test_a_word_that_is_wrong_is_one_message(
    yolo: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(yolo)
    assert message in fail("data", "import", f"folder={yolo}", "target=../coco", *words)


def test_a_folder_of_no_known_format_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "set/a.png")
    assert "looks like none of yolo, voc, labelme: say which it is by source= beside folder=" in fail(
        "data", "import", str(tmp_path / "set"), f"target={tmp_path / 'coco'}"
    )


def test_a_command_that_is_given_another_format_names_the_import(yolo: Path) -> None:
    outcome = deta("data", "check", "data=coco", f"data.root={yolo}")
    assert outcome.code == 1
    assert (
        f"seems to hold a data set of YOLO, to be read after deta data import '{yolo}' target='{yolo}_coco'"
        in outcome.out
    )


def test_a_hostile_name_is_shown_without_letters_that_a_terminal_obeys(yolo: Path) -> None:
    write_image(yolo / "images/val/\x1b[31m.png")
    out = succeed("data", "import", str(yolo), f"target={yolo}_coco").out
    assert "\\x1b[31m.png" in out
    assert "\x1b" not in out
    document = json.loads(Path(f"{yolo}_coco/annotations/instances_val2017.json").read_text())
    assert "\x1b[31m.png" in [image["file_name"] for image in document["images"]]
