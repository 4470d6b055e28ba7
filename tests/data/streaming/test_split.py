"""Training from shards is training from the folder."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deta.data import Compose, ImageError, RandomHorizontalFlip, RandomSizeCrop
from deta.data.streaming.layout import ShardError
from deta.data.streaming.store import FolderStore
from deta.structures import Batch
from tests.data.folders import data_module
from tests.data.streaming.sharded import rename_shard, write_folder, writer

AUGMENT = Compose(transforms=[RandomHorizontalFlip(), RandomSizeCrop(min_side=12, max_side=24)])


def batches(root: Path, *, epochs: Sequence[int] = (0, 1), **options: Any) -> list[Batch]:  # noqa: ANN401
    """Training batches of some epochs."""
    module = data_module(root, **{"train_transform": AUGMENT, "batch_size": 4, **options})
    module.prepare_data()
    module.setup("fit")
    loader = module.train_dataloader()
    found: list[Batch] = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        found += list(loader)
    return found


def same(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    """Whether both have the same images, boxes and ids."""
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.targets.boxes, b.targets.boxes)
        and torch.equal(a.image_ids, b.image_ids)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("options", [{}, {"keep_empty_images": False}, {"limit_train_images": 9}], ids=str)
def test_shards_give_the_batches_of_the_folder(
    folder: Path, shards: Path, workers: int, options: dict[str, Any]
) -> None:
    expected = batches(folder, **options)
    nowhere = folder / "nowhere"
    assert same(batches(nowhere, source="shards", shards=shards, num_workers=workers, **options), expected)


def test_validation_from_shards_sees_every_image_in_order(folder: Path, shards: Path) -> None:
    module = data_module(folder / "nowhere", source="shards", shards=shards, eval_batch_size=3)
    module.setup("validate")
    assert [batch.image_ids.tolist() for batch in module.val_dataloader()] == [[1, 2, 3], [4, 5, 6], [7]]
    assert module.val_annotations.read_bytes() == (folder / "annotations/val.json").read_bytes()


@pytest.mark.parametrize("window", [None, 1, 2])
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_ranks_share_out_the_shards_without_loss_or_repetition(shards: Path, num_ranks: int, window: int) -> None:
    seen: list[int] = []
    for rank in range(num_ranks):
        module = data_module(shards, source="shards", shards=shards, shuffle_window=window, batch_size=2)
        module.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank,
            world_size=num_ranks,
            is_global_zero=rank == 0,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        module.setup("fit")
        seen += [i for batch in module.train_dataloader() for i in batch.image_ids.tolist()]
    assert len(seen) == len(set(seen)) == 12


def test_a_window_uses_few_shards_at_a_time_and_all_images(shards: Path) -> None:
    module = data_module(shards, source="shards", shards=shards, shuffle_window=1, batch_size=1)
    module.setup("fit")
    ids = [i for batch in module.train_dataloader() for i in batch.image_ids.tolist()]
    assert sorted(ids) == list(range(1, 14))
    numbers = module.splits["train"].shards(module.train_dataset.annotations)
    assert numbers is not None
    in_turn = [int(numbers[identity - 1]) for identity in ids]
    assert sum(a != b for a, b in itertools.pairwise(in_turn)) == 3  # four shards, one after the other


def test_a_window_without_shards_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.shuffle_window mixes shards: set data\.source=shards"):
        batches(folder, shuffle_window=2)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"short")])
def test_missing_and_cut_shards_are_found_at_setup(shards: Path, spoil: Any) -> None:  # noqa: ANN401
    spoil(shards / "train" / "chunk-0-2.bin")
    message = r"1 of 4 shards in .*train missing or of another size: chunk-0-2\.bin; deta data shard with the same"
    with pytest.raises(ShardError, match=message):
        batches(shards, source="shards", shards=shards)


def test_a_shard_that_goes_missing_later_is_named(shards: Path) -> None:
    module = data_module(shards, source="shards", shards=shards)
    module.setup("fit")
    (shards / "train" / "chunk-0-2.bin").unlink()
    with pytest.raises(ShardError, match=r"shard .*train/chunk-0-2\.bin is missing; deta data shard"):
        [module.train_dataset[index] for index in range(13)]


@pytest.mark.parametrize("on_bad_image", ["error", "skip"])
@pytest.mark.parametrize("workers", [0, 1])
def test_damage_inside_a_shard_is_named_and_never_skipped(shards: Path, on_bad_image: str, workers: int) -> None:
    path = shards / "train" / "chunk-0-1.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    options: dict[str, Any] = {"on_bad_image": on_bad_image, "max_bad_fraction": 1.0, "num_workers": workers}
    with pytest.raises(ShardError, match=r"shard .*train/chunk-0-1\.bin is damaged at image \d+"):
        batches(shards, source="shards", shards=shards, **options)


def test_shards_exchanged_for_others_are_noticed(shards: Path) -> None:
    module = data_module(shards, source="shards", shards=shards)
    module.setup("fit")
    first, second = (shards / "train" / f"chunk-0-{number}.bin" for number in (0, 1))
    first.write_bytes(second.read_bytes())
    with pytest.raises(ShardError, match=r"chunk-0-0\.bin is damaged"):
        [module.train_dataset[index] for index in range(13)]


def test_an_image_that_is_none_stays_an_unusable_one_in_shards(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    (root / "train" / "5.png").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    for split in ("train", "val"):
        writer(root, FolderStore(tmp_path / "out" / split), split, on_bad_image="skip").write()
    assert not any(b"PRIVATE" in path.read_bytes() for path in (tmp_path / "out").rglob("*.bin"))
    shards: dict[str, Any] = {"source": "shards", "shards": tmp_path / "out"}
    with pytest.raises(ImageError, match=r"image 5 in .*train/chunk-0-\d\.bin cannot be decoded"):
        batches(root, **shards)
    skip: dict[str, Any] = {"on_bad_image": "skip", "max_bad_fraction": 0.5}
    assert same(batches(root, **skip), batches(root, **skip, **shards))


@pytest.mark.parametrize("name", ["annotations.json", "shards.json", "chunk-0-1.bin"])
def test_a_link_out_of_the_folder_of_the_shards_is_refused(shards: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (shards / "train" / name).rename(outside)
    (shards / "train" / name).symlink_to(outside)
    with pytest.raises(ValueError, match=f"{name} leads out of the folder .*shards/train, to {outside}"):
        batches(shards, source="shards", shards=shards)


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "chunk-0-1.bin/../../../outside"])
def test_a_manifest_names_no_file_outside_of_its_folder(shards: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes((shards / "train" / "chunk-0-1.bin").read_bytes())
    rename_shard(shards / "train" / "shards.json", name)
    with pytest.raises(ValueError, match=r"shards.json is not a list of shards .* at `\$.shards\[1\].name`"):
        batches(shards, source="shards", shards=shards)


def test_changed_annotations_beside_the_shards_are_refused(shards: Path) -> None:
    path = shards / "train" / "annotations.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ShardError, match=r"annotations\.json is not the annotation file of its shards"):
        batches(shards, source="shards", shards=shards)


def test_an_unfinished_set_is_refused(shards: Path) -> None:
    (shards / "train" / "shards.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"train holds no finished shards .*check data\.shards, or make them"):
        batches(shards, source="shards", shards=shards)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "shards"}, r"data\.source=shards needs data\.shards"),
        ({"source": "tar"}, r"data\.source must be one of folder, shards, got 'tar'"),
        ({"source": "shards", "shards": "ftp://a/b", "shard_cache": "c"}, r"folder or s3://bucket/prefix, got ftp://a"),
        ({"source": "shards", "shards": "s3://a/b"}, r"data\.shards=s3://a/b needs data\.shard_cache"),
        ({"source": "shards", "shards": "x", "shard_cache_gb": -1}, r"data\.shard_cache_gb must be at least 0, got -1"),
        ({"shuffle_window": 0}, r"data\.shuffle_window must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data_module(tmp_path, **options)
