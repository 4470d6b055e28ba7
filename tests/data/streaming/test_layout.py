from pathlib import Path

import numpy as np
import pytest

from deta.data import read_coco
from deta.data.streaming.layout import ShardError, read_item, shard_item, write_shard
from deta.data.streaming.store import FolderStore
from tests.data.folders import write_dataset
from tests.data.streaming.sharded import write_folder, writer

IMAGES = [b"first", b"", b"the third one"]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Three items of images 1..3."""
    annotations = read_coco(write_dataset(tmp_path, num_images=3))
    items = [shard_item(annotations, index, image) for index, image in enumerate(IMAGES)]
    return write_shard(tmp_path, 4, items)[0]


def test_every_item_comes_back_in_any_order(shard: Path) -> None:
    assert shard.name == "chunk-0-4.bin"
    for position in (2, 0, 1, 2):
        item = read_item(shard, position)
        assert (item.image, item.image_id, item.is_intact) == (IMAGES[position], position + 1, True)


@pytest.mark.parametrize("position", [-1, 3])
def test_an_item_that_is_not_there_is_an_error(shard: Path, position: int) -> None:
    with pytest.raises(ShardError, match=f"damaged: it has 3 items, item {position} is asked for"):
        read_item(shard, position)


@pytest.mark.parametrize(("length", "position"), [(0, 0), (3, 0), (12, 1), (40, 0), (60, 0), (-200, 2)])
def test_a_shard_that_was_cut_is_an_error(shard: Path, length: int, position: int) -> None:
    shard.write_bytes(shard.read_bytes()[:length])
    with pytest.raises(ShardError, match=r"chunk-0-4\.bin is damaged: it ends at byte"):
        read_item(shard, position)


@pytest.mark.parametrize("place", range(4 + 16, 4 + 16 + 28))
def test_no_damage_of_the_sizes_goes_unnoticed(shard: Path, place: int) -> None:
    content = bytearray(shard.read_bytes())
    content[place] ^= 0x10
    shard.write_bytes(content)
    try:
        item = read_item(shard, 0)
    except ShardError:
        return
    assert not item.is_intact


def test_a_flipped_bit_of_an_image_is_noticed(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes().replace(b"third", b"thirD"))
    assert [read_item(shard, position).is_intact for position in range(3)] == [True, True, False]


@pytest.mark.filterwarnings("ignore")
def test_litdata_itself_reads_images_and_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    from litdata import StreamingDataset

    root = write_folder(tmp_path / "data")
    manifest = writer(root, FolderStore(tmp_path / "shards")).write().manifest
    annotations = read_coco(root / "annotations/train.json")
    ids = [identity for shard in manifest.shards for identity in shard.image_ids]
    dataset = StreamingDataset(str(tmp_path / "shards"))
    assert len(dataset) == 13
    for position in (12, 0, 5):
        item, index = dataset[position], ids[position] - 1
        rows = annotations.rows(index)
        assert bytes(item["image"]) == (root / "train" / annotations.file_name(index)).read_bytes()
        assert item["image_id"] == ids[position]
        np.testing.assert_array_equal(item["boxes"], annotations.boxes[rows])
        np.testing.assert_array_equal(item["labels"], annotations.labels[rows])
        np.testing.assert_array_equal(item["areas"], annotations.areas[rows])
        np.testing.assert_array_equal(item["is_crowd"], annotations.is_crowd[rows])
