import json

import numpy as np
import pytest

from deta.data.streaming.manifest import Manifest, Shard


def manifest() -> Manifest:
    """Images 5, 1 and 9 in two shards."""
    first = Shard("chunk-0-0.bin", 10, "0" * 64, "1" * 64, (5, 1))
    second = Shard("chunk-0-1.bin", 20, "2" * 64, "3" * 64, (9,))
    return Manifest(annotations_sha256="4" * 64, num_annotations=8, shards=(first, second))


def test_text_and_back_is_the_same() -> None:
    assert Manifest.from_json(manifest().to_json(), "x") == manifest()
    assert (manifest().num_images, manifest().num_bytes) == (3, 30)


def test_images_are_found_in_their_shards() -> None:
    numbers, positions = manifest().locate(np.asarray([1, 9, 5, 1]))
    assert numbers.tolist() == [0, 1, 0, 0]
    assert positions.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("unknown", [0, 6, 10])
def test_an_image_in_no_shard_is_an_error(unknown: int) -> None:
    with pytest.raises(ValueError, match=f"1 image lies in no shard, such as {unknown}"):
        manifest().locate(np.asarray([5, unknown]))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 1, "shards": [{}]}'])
def test_another_file_is_not_taken_for_a_manifest(text: str) -> None:
    with pytest.raises(ValueError, match="folder/shards is not a list of shards"):
        Manifest.from_json(text, "folder/shards")


def test_another_version_is_refused() -> None:
    text = manifest().to_json().replace('"version": 1', '"version": 0')
    with pytest.raises(ValueError, match="x has version 0, this deta reads 1: make the shards anew"):
        Manifest.from_json(text, "x")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": "../../../x"}, "name"),
        ({"name": "/etc/passwd"}, "name"),
        ({"name": "chunk-0-0.bin\n"}, "name"),
        ({"name": "chunk-0-0.bin/../x"}, "name"),
        ({"name": "chunk-\u0660-0.bin"}, "name"),
        ({"name": 3}, "name"),
        ({"name": None}, "name"),
        ({"num_bytes": "10"}, "num_bytes"),
        ({"num_bytes": -1}, "num_bytes"),
        ({"num_bytes": 1.5}, "num_bytes"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"sha256": 0}, "sha256"),
        ({"source_sha256": "G" * 64}, "source_sha256"),
        ({"image_ids": "123"}, "image_ids"),
        ({"image_ids": {"1": 2}}, "image_ids"),
        ({"image_ids": ["1"]}, r"image_ids\[[0-9.]+\]"),
        ({"image_ids": [2**63]}, r"image_ids\[[0-9.]+\]"),
        ({"image_ids": None}, "image_ids"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_place(change: dict[str, object], place: str) -> None:
    content = json.loads(manifest().to_json())
    content["shards"][1].update(change)
    with pytest.raises(ValueError, match=rf"^x is not a list of shards .* at `\$.shards\[1\].{place}`"):
        Manifest.from_json(json.dumps(content), "x")
    with pytest.raises(ValueError, match=rf"^y is not a list of shards .* at `\$.{place}`"):
        Shard.from_json(json.dumps(content["shards"][1]), "y")


@pytest.mark.parametrize(
    ("key", "value"),
    [("shards", []), ("shards", {}), ("num_annotations", -1), ("annotations_sha256", "4"), ("version", "1")],
)
def test_a_wrong_value_of_the_whole_is_refused(key: str, value: object) -> None:
    content = {**json.loads(manifest().to_json()), key: value}
    with pytest.raises(ValueError, match=r"^x is not a list of shards"):
        Manifest.from_json(json.dumps(content), "x")


def test_a_shard_that_is_listed_twice_is_refused() -> None:
    content = json.loads(manifest().to_json())
    content["shards"][1]["name"] = content["shards"][0]["name"]
    with pytest.raises(ValueError, match=r"x is not a list of shards .*listed twice"):
        Manifest.from_json(json.dumps(content), "x")


@pytest.mark.parametrize("text", [b"\xff", b"[" * 100_000, b'{"version": 1, "x": ' + b"[" * 100_000])
def test_bytes_that_are_no_text_and_endless_depth_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="x is not a list of shards"):
        Manifest.from_json(text, "x")
