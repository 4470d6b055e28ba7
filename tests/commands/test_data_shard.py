"""``deta data shard``, and the commands that read what it made."""

import json
from pathlib import Path

import pytest

from tests.commands.running import TINY_TRAINING, deta, fail, succeed
from tests.commands.test_data_check import good_data
from tests.data.streaming.sharded import contents


def words(root: Path, out: Path) -> list[str]:
    """The command for a folder of ``write_dataset``."""
    paths = [f"data.{split}_annotations=annotations/{split}.json" for split in ("train", "val")]
    paths += [f"data.{split}_images={split}" for split in ("train", "val")]
    return ["data", "shard", f"data.root={root}", *paths, f"out={out}"]


def test_counts_and_checksums_are_printed_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    root, out = good_data(tmp_path / "data"), tmp_path / "out"
    first = succeed(*words(root, out))
    before = contents(out / "train")
    second = succeed(*words(root, out))
    assert contents(out / "train") == before
    assert "train: 4 images and 6 annotations in 1 shard, 0.0 MiB, annotations sha256 " in first.out
    assert "; 1 written, 0 verified and unchanged" in first.out
    assert "; 0 written, 1 verified and unchanged" in second.out
    assert first.out.count("sha256") == second.out.count("sha256") == 4


def test_one_split_can_be_chosen(tmp_path: Path) -> None:
    succeed(*words(good_data(tmp_path / "data"), tmp_path / "out"), "splits=[val]")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["val"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("splits=[test]", "splits must be one of train, val, got 'test'"),
        ("shard_mb=0", "shard_mb must be in [1, 1000], got 0"),
        ("out=ftp://host/x", "the address of shards must be a folder or s3://bucket/prefix, got ftp://host/x/train"),
    ],
)
def test_wrong_values_are_one_message(tmp_path: Path, word: str, message: str) -> None:
    assert message in fail(*words(good_data(tmp_path / "data"), tmp_path / "out"), word)


def test_a_missing_image_is_one_message(tmp_path: Path) -> None:
    root = good_data(tmp_path / "data")
    (root / "train" / "2.png").unlink()
    assert "1 of 4 images do not exist" in fail(*words(root, tmp_path / "out"))


def test_training_and_evaluation_from_shards(tmp_path: Path) -> None:
    images = [word for word in TINY_TRAINING if word.startswith(("data.num_train", "data.num_val"))]
    succeed("data", "shard", "data=shapes", *images, f"out={tmp_path}/shards")
    source = ("data.source=shards", f"data.shards={tmp_path}/shards")
    trained = succeed("train", *TINY_TRAINING, *source, f"hydra.run.dir={tmp_path}/run")
    assert "AP" in trained.out
    succeed("eval", f"ckpt={tmp_path}/run", "data.source=folder", f"hydra.run.dir={tmp_path}/eval")
    for path in (tmp_path / "shards" / "val").glob("chunk-*.bin"):
        path.write_bytes(path.read_bytes()[:-5])
    outcome = deta("eval", f"ckpt={tmp_path}/run", f"hydra.run.dir={tmp_path}/again")
    assert outcome.code == 1
    assert "1 of 1 shard in" in outcome.err
    assert " missing or of another size: chunk-0-0.bin" in outcome.err


def test_the_check_reads_shards_and_lists_their_faults(tmp_path: Path) -> None:
    root, out = good_data(tmp_path / "data"), tmp_path / "out"
    succeed(*words(root, out))
    check = ("data", "check", "data.source=shards", f"data.shards={out}", "data.root=nowhere")
    good = succeed(*check)
    assert f"{out}/train\n  4 images (1 without objects), 6 annotations (0 crowds), 1 shard of 0.0 MiB\n" in good.out
    assert good.out.endswith("The data set is usable.\n")
    path = out / "val" / "chunk-0-0.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    annotations = path.with_name("annotations.json")
    annotations.write_text(annotations.read_text() + "\n")
    bad = deta(*check)
    assert bad.code == 1
    assert "  error: 2 x file that is missing or whose checksum differs: annotations.json, chunk-0-0.bin\n" in bad.out
    assert f"  error: 1 x image that cannot be read: shard {path} is damaged at image 2; deta data shard" in bad.out
    assert bad.out.endswith("The data set has errors.\n")


def test_a_check_of_shards_tells_doubts_and_what_it_does_not_look_for(tmp_path: Path) -> None:
    root, shards = good_data(tmp_path / "data"), tmp_path / "shards"
    path = root / "annotations" / "train.json"
    document = json.loads(path.read_text())
    document["images"].append({**document["images"][0], "id": 77})
    path.write_text(json.dumps(document))
    succeed(*words(root, shards))
    outcome = succeed("data", "check", *words(root, shards)[2:-1], "data.source=shards", f"data.shards={shards}")
    assert outcome.out.count("warning: 1 x image file listed under several ids: 1.png (ids 1, 77)") == 1
    assert "Not looked for in shards: pictures of equal pixels" in outcome.out
