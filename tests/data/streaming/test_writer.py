import json
import multiprocessing
from pathlib import Path

import pytest

from deta.data.decoding import ImageError
from deta.data.streaming.layout import read_item
from deta.data.streaming.store import FolderStore
from tests.data.folders import write_image
from tests.data.streaming.sharded import NUM_TRAIN, SHARD_BYTES, contents, files_of_at_most, write_folder, writer


class _KilledError(Exception):
    """The end of a run."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("shard_bytes", [1, 5_000, SHARD_BYTES, 25_000, 10**6])
def test_every_image_lies_in_one_shard_and_no_shard_is_too_small(root: Path, out: Path, shard_bytes: int) -> None:
    manifest = writer(root, FolderStore(out), shard_bytes=shard_bytes).write().manifest
    assert sorted(i for shard in manifest.shards for i in shard.image_ids) == list(range(1, NUM_TRAIN + 1))
    for shard in manifest.shards:
        images = [read_item(out / shard.name, position).image for position in range(len(shard.image_ids))]
        assert images == [(root / "train" / f"{identity}.png").read_bytes() for identity in shard.image_ids]
        size = sum(len(image) for image in images)
        assert size >= shard_bytes or len(manifest.shards) == 1
        assert size < 2 * shard_bytes + 5_000  # the largest image has fewer bytes
    assert manifest.num_annotations == 19  # three times 1 + 2 + 3 + 0, and 1


def test_training_shards_are_random_and_others_in_order(root: Path, out: Path) -> None:
    trained = writer(root, FolderStore(out / "train")).write().manifest
    validated = writer(root, FolderStore(out / "val"), "val").write().manifest
    assert [i for shard in validated.shards for i in shard.image_ids] == list(range(1, 8))
    ids = [i for shard in trained.shards for i in shard.image_ids]
    assert ids != sorted(ids)


def test_a_second_run_verifies_and_changes_nothing(root: Path, out: Path) -> None:
    first = writer(root, FolderStore(out)).write()
    before = contents(out)
    said: list[str] = []
    second = writer(root, FolderStore(out), say=said.append).write()
    assert contents(out) == before
    assert (first.num_written, second.num_written) == (len(first.manifest.shards), 0)
    assert second.manifest == first.manifest
    assert [line.rpartition(", ")[2] for line in said] == ["kept"] * len(first.manifest.shards)
    assert all(shard.sha256 in line for shard, line in zip(first.manifest.shards, said, strict=True))


@pytest.mark.parametrize("done", [1, 2, 3])
def test_an_interrupted_run_is_continued_to_the_same_files(root: Path, out: Path, done: int) -> None:
    said: list[str] = []

    def die(line: str) -> None:
        said.append(line)
        if len(said) == done:
            raise _KilledError

    with pytest.raises(_KilledError):
        writer(root, FolderStore(out), say=die).write()
    assert not (out / "shards.json").exists()
    report = writer(root, FolderStore(out)).write()
    assert report.num_written == len(report.manifest.shards) - done
    whole = out.with_name("whole")
    writer(root, FolderStore(whole)).write()
    assert {name: content for name, (content, _) in contents(out).items()} == {
        name: content for name, (content, _) in contents(whole).items()
    }


@pytest.mark.parametrize(
    ("damage", "is_finished"),
    [("flip", True), ("cut", True), ("remove", True), ("cut", False), ("remove", False)],
)
def test_a_damaged_shard_is_written_again(root: Path, out: Path, damage: str, is_finished: bool) -> None:
    writer(root, FolderStore(out)).write()
    before = {name: content for name, (content, _) in contents(out).items()}
    path = out / "chunk-0-1.bin"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-1])
    if not is_finished:
        manifest = json.loads((out / "shards.json").read_text())
        for number, shard in enumerate(manifest["shards"]):
            (out / f"unfinished-{number}.json").write_text(json.dumps(shard))
        (out / "shards.json").unlink()
    assert writer(root, FolderStore(out)).write().num_written == 1
    assert {name: content for name, (content, _) in contents(out).items()} == before


@pytest.mark.parametrize("name", ["index.json", "annotations.json"])
def test_a_lost_file_beside_the_shards_comes_back(root: Path, out: Path, name: str) -> None:
    writer(root, FolderStore(out)).write()
    before = (out / name).read_bytes()
    (out / name).unlink()
    assert writer(root, FolderStore(out)).write().num_written == 0
    assert (out / name).read_bytes() == before


def test_shards_of_changed_images_are_not_touched(root: Path, out: Path) -> None:
    writer(root, FolderStore(out)).write()
    before = contents(out)
    write_image(root / "train" / "3.png", height=27, width=32, seed=99)
    with pytest.raises(ValueError, match=r"out holds shards of other data or options \(other images in chunk"):
        writer(root, FolderStore(out)).write()
    assert contents(out) == before


def test_shards_of_other_annotations_are_not_touched(root: Path, out: Path) -> None:
    writer(root, FolderStore(out)).write()
    path = root / "annotations" / "train.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ValueError, match=r"annotations other than .*train\.json\): choose another out, or empty it"):
        writer(root, FolderStore(out)).write()


def test_shards_of_another_size_are_not_touched(root: Path, out: Path) -> None:
    writer(root, FolderStore(out)).write()
    with pytest.raises(ValueError, match="4 shards instead of 13"):
        writer(root, FolderStore(out), shard_bytes=1).write()


def test_a_missing_image_stops_before_anything_is_written(root: Path, out: Path) -> None:
    (root / "train" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 13 images do not exist in .*: 3\.png"):
        writer(root, FolderStore(out)).write()
    assert not out.exists()


def test_writing_leaves_the_start_method_of_processes_alone(root: Path, out: Path) -> None:
    before = multiprocessing.get_start_method(allow_none=True)
    writer(root, FolderStore(out)).write()
    assert multiprocessing.get_start_method(allow_none=True) == before


def test_a_file_that_is_no_image_is_not_packed(root: Path, out: Path) -> None:
    (root / "train" / "5.png").write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(ImageError, match=r"image 5\.png cannot be decoded.*data\.on_bad_image=skip its place"):
        writer(root, FolderStore(out)).write()
    assert not any(b"PRIVATE" in path.read_bytes() for path in out.rglob("*"))


def test_a_link_out_of_the_image_folder_is_not_packed(root: Path, out: Path, tmp_path: Path) -> None:
    outside = write_image(tmp_path / "outside.png", height=29, width=34)
    (root / "train" / "5.png").unlink()
    (root / "train" / "5.png").symlink_to(outside)
    with pytest.raises(ValueError, match=rf"5\.png leads out of the folder .*train, to {outside}: .*follow_links"):
        writer(root, FolderStore(out)).write()


def test_a_full_disk_names_the_shard_and_leaves_nothing_half_done(root: Path, out: Path) -> None:
    with files_of_at_most(2000), pytest.raises(OSError, match=r"File too large: '.*chunk-0-0\.bin'"):
        writer(root, FolderStore(out)).write()
    assert not list(out.rglob("*"))
