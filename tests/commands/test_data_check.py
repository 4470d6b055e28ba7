"""``deta data check`` on good and on broken data."""

import json
from pathlib import Path

from tests.commands.running import deta, succeed
from tests.data.folders import write_dataset


def words(root: Path) -> list[str]:
    """The command for a folder of ``write_dataset``."""
    paths = [f"data.{split}_annotations=annotations/{split}.json" for split in ("train", "val")]
    paths += [f"data.{split}_images={split}" for split in ("train", "val")]
    return ["data", "check", f"data.root={root}", *paths]


def good_data(root: Path) -> Path:
    """Two splits without a fault."""
    write_dataset(root, num_images=4, split="train")
    write_dataset(root, num_images=3, split="val")
    return root


def test_good_data_is_counted_and_usable(tmp_path: Path) -> None:
    outcome = succeed(*words(good_data(tmp_path)))
    assert "4 images (1 without objects), 6 annotations (0 crowds)" in outcome.out
    assert "3 images decoded" in outcome.out
    assert outcome.out.endswith("The data set is usable.\n")


def test_generated_data_is_usable() -> None:
    outcome = succeed("data", "check", "data=shapes", "data.num_train=8", "data.num_val=4")
    assert "objects by class: circle" in outcome.out


def test_faults_of_both_splits_are_listed_and_the_exit_code_is_1(tmp_path: Path) -> None:
    root = good_data(tmp_path)
    (root / "train" / "2.png").unlink()
    (root / "val" / "3.png").write_bytes(b"no image")
    outcome = deta(*words(root))
    assert outcome.code == 1
    assert "error: 1 x image file that does not exist: 2.png" in outcome.out
    assert "error: 1 x image that cannot be used: image" in outcome.out
    assert outcome.out.endswith("The data set has errors.\n")
    assert outcome.err == ""


def test_a_validation_split_with_other_categories_is_an_error(tmp_path: Path) -> None:
    root = good_data(tmp_path)
    path = root / "annotations" / "val.json"
    document = json.loads(path.read_text())
    document["categories"][0]["name"] = "dog"
    path.write_text(json.dumps(document))
    outcome = deta(*words(root))
    assert outcome.code == 1
    assert "has other categories than those that the class indexes stand for (renamed 7 'dog' for 'cat')" in outcome.out


def test_a_missing_annotation_file_is_an_error_of_its_split(tmp_path: Path) -> None:
    outcome = deta(*words(tmp_path))
    assert outcome.code == 1
    assert outcome.out.count("does not exist; check data.root") == 2


def test_a_missing_file_of_checksums_is_named(tmp_path: Path) -> None:
    outcome = deta(*words(good_data(tmp_path)), "checksums=nowhere.txt")
    assert outcome.code == 1
    assert "deta: checksums=nowhere.txt does not exist" in outcome.err
