import numpy as np
import pytest

from deta.data.streaming.manifest import Manifest, Shard


def manifest() -> Manifest:
    """Images 5, 1 and 9 in two shards."""
    shards = (Shard("a.bin", 10, "00", "01", (5, 1)), Shard("b.bin", 20, "02", "03", (9,)))
    return Manifest(annotations_sha256="04", num_annotations=8, shards=shards)


def test_text_and_back_is_the_same() -> None:
    assert Manifest.from_json(manifest().to_json(), "x") == manifest()
    assert (manifest().num_images, manifest().num_bytes) == (3, 30)


def test_images_are_found_in_their_shards() -> None:
    numbers, positions = manifest().locate(np.asarray([1, 9, 5, 1]))
    assert numbers.tolist() == [0, 1, 0, 0]
    assert positions.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("unknown", [0, 6, 10])
def test_an_image_in_no_shard_is_an_error(unknown: int) -> None:
    with pytest.raises(ValueError, match=f"1 images lie in no shard, such as {unknown}"):
        manifest().locate(np.asarray([5, unknown]))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 1, "shards": [{}]}'])
def test_another_file_is_not_taken_for_a_manifest(text: str) -> None:
    with pytest.raises(ValueError, match="folder/shards is not a list of shards"):
        Manifest.from_json(text, "folder/shards")


def test_another_version_is_refused() -> None:
    text = manifest().to_json().replace('"version": 1', '"version": 0')
    with pytest.raises(ValueError, match="x has version 0, this deta reads 1: make the shards anew"):
        Manifest.from_json(text, "x")
