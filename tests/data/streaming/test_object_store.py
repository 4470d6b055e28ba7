"""Shards in an object store that speaks S3, over the loopback interface."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from deta.data.streaming.layout import ShardError
from deta.data.streaming.store import S3Store, Store, below, open_store
from tests.data.folders import data_module
from tests.data.streaming.sharded import files_of_at_most, put_object, rename_shard, write_both, write_folder, writer
from tests.data.streaming.test_split import batches, same


@pytest.fixture
def address(bucket: str, sharded: Path, tmp_path: Path) -> str:
    """The shards of both splits below an address of this test's own."""
    own = f"{bucket}/{tmp_path.name}"
    for split in ("train", "val"):
        store = open_store(below(own, split))
        for path in (sharded / split).iterdir():
            store.put(path.name, path.read_bytes())
    return own


def fetched(store: type[Store]) -> Any:  # noqa: ANN401
    """Counts the downloads of this process."""
    return mock.patch.object(store, "fetch", autospec=True, side_effect=store.fetch)


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_of_an_object_store_give_the_batches_of_the_folder(
    folder: Path, address: str, tmp_path: Path, workers: int
) -> None:
    options: dict[str, Any] = {
        "source": "shards",
        "shards": address,
        "shard_cache": tmp_path / "cache",
        "num_workers": workers,
    }
    assert same(batches(tmp_path, **options), batches(folder))
    cached = sorted(path.name for path in (tmp_path / "cache").rglob("*.bin"))
    assert cached == [f"chunk-0-{number}.bin" for number in range(4)]
    assert not list(tmp_path.rglob("*.unfinished"))


def test_the_store_gets_the_files_of_a_folder(bucket: str, folder: Path, sharded: Path) -> None:
    write_both(folder, f"{bucket}/same")
    for split in ("train", "val"):
        store = open_store(f"{bucket}/same/{split}")
        assert all(store.read(path.name) == path.read_bytes() for path in (sharded / split).iterdir())
        assert store.read("unfinished-0.json") is None


def test_every_shard_is_fetched_once(address: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"source": "shards", "shards": address, "shard_cache": tmp_path / "cache"}
    with fetched(S3Store) as fetch:
        first = batches(tmp_path, **options)
        assert fetch.call_count == 4 + 2  # the annotations of both splits
        assert same(batches(tmp_path, **options), first)
        assert fetch.call_count == 4 + 2


def test_a_budget_is_kept_and_a_window_then_fetches_little(address: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"source": "shards", "shards": address, "shard_cache": tmp_path / "cache"}
    with fetched(S3Store) as fetch:
        found = batches(tmp_path, epochs=[0], batch_size=1, shuffle_window=1, shard_cache_gb=1e-5, **options)
        assert fetch.call_count == 4 + 2
    assert sorted(i for batch in found for i in batch.image_ids.tolist()) == list(range(1, 14))
    assert len(list((tmp_path / "cache").rglob("*.bin"))) == 1


def test_without_a_window_a_small_budget_gives_the_same_samples(folder: Path, address: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "source": "shards",
        "shards": address,
        "shard_cache": tmp_path / "cache",
        "shard_cache_gb": 1e-5,
    }
    assert same(batches(tmp_path, num_workers=2, **options), batches(folder))


def test_a_second_run_reads_back_and_changes_nothing(folder: Path, address: str) -> None:
    store = open_store(below(address, "train"))
    with mock.patch.object(S3Store, "put") as put, mock.patch.object(S3Store, "move_in") as move_in:
        assert writer(folder, store).write().num_written == 0
    assert not put.called
    assert not move_in.called


def test_a_damaged_object_is_found_and_repaired(folder: Path, address: str, tmp_path: Path) -> None:
    name = f"{address}/train/chunk-0-1.bin"
    content = open_store(f"{address}/train").read("chunk-0-1.bin")
    assert content is not None
    put_object(name, content[:-1] + b"?")
    options: dict[str, Any] = {"source": "shards", "shards": address, "shard_cache": tmp_path / "cache"}
    with pytest.raises(ShardError, match=f"shard {name} is damaged: its checksum is another; deta data shard"):
        batches(tmp_path, **options)
    assert writer(folder, open_store(f"{address}/train")).write().num_written == 1
    assert same(batches(tmp_path, **options), batches(folder))


def test_a_missing_object_is_named(address: str, tmp_path: Path) -> None:
    open_store(f"{address}/train").delete("chunk-0-3.bin")
    options: dict[str, Any] = {"source": "shards", "shards": address, "shard_cache": tmp_path / "cache"}
    with pytest.raises(ShardError, match=r"shard s3://.*/train/chunk-0-3\.bin is missing; deta data shard"):
        batches(tmp_path, **options)


def test_another_set_at_the_same_address_is_not_mixed_up_with_the_cached_one(address: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"source": "shards", "shards": address, "shard_cache": tmp_path / "cache"}
    batches(tmp_path, **options)
    root = write_folder(tmp_path / "other")
    path = root / "annotations" / "train.json"
    path.write_text(path.read_text().replace('"area": 42', '"area": 43'))
    for split in ("train", "val"):
        open_store(f"{address}/{split}").delete("shards.json")
    write_both(root, address)
    assert same(batches(tmp_path, **options), batches(root))
    module = data_module(tmp_path, **options)
    module.setup("fit")
    assert set(module.train_dataset.annotations.areas.tolist()) == {43}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect .*; check the address, the login and AWS_END"),
        ({}, "NoSuchBucket.*; check the address, the login and AWS_ENDPOINT_URL"),
    ],
)
def test_a_store_that_does_not_answer_is_a_clear_error(
    bucket: str, tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    options: dict[str, Any] = {"source": "shards", "shards": "s3://nowhere/x", "shard_cache": tmp_path}
    with mock.patch.dict(os.environ, changed), pytest.raises(OSError, match=message):
        data_module(tmp_path, **options).prepare_data()


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deta.data.streaming.store.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"s3://a/b needs a package that is not installed: pip install boto3"):
        open_store("s3://a/b")


@pytest.mark.parametrize("name", ["../../../outside", "chunk-0-1.bin/../../outside"])
def test_a_store_that_names_its_shards_otherwise_makes_nothing_be_written(
    address: str, sharded: Path, tmp_path: Path, name: str
) -> None:
    manifest = tmp_path / "shards.json"
    manifest.write_bytes((sharded / "train" / "shards.json").read_bytes())
    rename_shard(manifest, name)
    put_object(f"{address}/train/shards.json", manifest.read_bytes())
    put_object(f"{address}/outside", b"hostile")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"train/shards.json is not a list of shards .* at `\$.shards\[1\].name`"):
        batches(tmp_path, source="shards", shards=address, shard_cache=tmp_path / "cache")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cache_that_cannot_be_written_is_named(address: str, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OSError, match=r"data.shard_cache must be a folder that can be written: '.*cache/.*lock'"):
        batches(tmp_path, source="shards", shards=address, shard_cache=tmp_path / "cache")


def test_a_full_disk_names_the_shard(address: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"source": "shards", "shards": address, "shard_cache": tmp_path / "cache"}
    module = data_module(tmp_path, **options)
    module.prepare_data()
    with files_of_at_most(1000), pytest.raises(OSError, match=r"File too large: '.*cache/.*chunk-0-\d.bin'"):
        batches(tmp_path, **options)
    assert not list(tmp_path.rglob("*.unfinished"))


def test_what_a_killed_process_has_left_of_a_shard_is_removed_with_the_next_fetch(address: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"source": "shards", "shards": address, "shard_cache": tmp_path / "cache"}
    expected = batches(tmp_path, **options)
    for shard in list(tmp_path.rglob("chunk-0-0.bin")):
        shard.rename(shard.with_name(f"{shard.name}.123.unfinished"))
    assert list(tmp_path.rglob("*.unfinished"))
    assert same(batches(tmp_path, **options), expected)
    assert not list(tmp_path.rglob("*.unfinished"))
