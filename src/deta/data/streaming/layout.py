"""One shard: a file of LitData's chunk format in which every image lies as it was, beside its objects.

    chunk:  num_items uint32 | where each item starts, [num_items + 1] uint32 | items
    item:   size of each field, [7] uint32 | fields, one after the other

Fields, in this order: ``image`` (the bytes of the image file), ``image_id`` int64, ``crc32`` int64 (of ``image``),
``boxes`` ``[K, 4]`` float32 xyxy pixels, ``labels`` ``[K]`` int64 class index, ``areas`` ``[K]`` float32,
``is_crowd`` ``[K]`` uint8. Any reader of LitData understands them; ours takes one image by two small reads, keeps
nothing open and so serves random order, forked workers and evicted files alike.
"""

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deta.data.coco import CocoAnnotations
from deta.utils.files import named

FIELDS = ("image", "image_id", "crc32", "boxes", "labels", "areas", "is_crowd")
MAX_SHARD_BYTES = 2**32 - 1
"""Offsets in a shard are uint32."""
_NUMBER_SIZE = 4
"""Bytes of a uint32."""
_HEADER = struct.Struct(f"<{len(FIELDS)}I")


class ShardError(OSError):
    """A shard that is missing or damaged; the message names it and the remedy."""


@dataclass(frozen=True)
class ShardItem:
    """What training takes from a shard.

    Attributes:
        image: The bytes of the image file.
        image_id: Id in the annotation file.
        is_intact: Whether the bytes are those that were written.
    """

    image: bytes
    image_id: int
    is_intact: bool


def shard_item(annotations: CocoAnnotations, index: int, image: bytes) -> dict[str, Any]:
    """The fields of one image as LitData's writer takes them."""
    rows = annotations.rows(index)
    return {
        "image": image,
        "image_id": int(annotations.image_ids[index]),
        "crc32": zlib.crc32(image),
        "boxes": annotations.boxes[rows],
        "labels": annotations.labels[rows],
        "areas": annotations.areas[rows],
        "is_crowd": annotations.is_crowd[rows].astype(np.uint8),
    }


def write_shard(folder: Path, number: int, items: Iterable[dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Write one chunk file.

    Args:
        folder: Where the file is put, under a name that LitData gives it.
        number: Of the chunk in its data set.
        items: Of ``shard_item``, at least one.

    Returns:
        The file, and how LitData's index describes the content of all chunks.

    Raises:
        OSError: The file cannot be written, for instance because the disk is full.
    """
    try:
        return _write_chunk(folder, number, items)
    except OSError as error:
        raise named(error, folder / f"chunk-0-{number}.bin") from error


def _write_chunk(folder: Path, number: int, items: Iterable[dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    from litdata.streaming.writer import BinaryWriter

    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        writer = BinaryWriter(unfinished, chunk_bytes=MAX_SHARD_BYTES, chunk_index=number)
        for position, item in enumerate(items):
            writer[position] = item
        writer.done()
        (index_file,) = Path(unfinished).glob("*.index.json")
        index = json.loads(index_file.read_text())
        (entry,) = index["chunks"]
        path = folder / entry["filename"]
        (Path(unfinished) / entry["filename"]).replace(path)
    config: dict[str, Any] = index["config"]
    return path, config


def read_item(path: Path, position: int) -> ShardItem:
    """Read one image out of a shard.

    Raises:
        FileNotFoundError: If there is no such file.
        ShardError: If the file has no such item or breaks the layout.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        start, stop = _place(descriptor, path, position)
        header = _HEADER.unpack(_read(descriptor, path, start, _HEADER.size))
        start += _HEADER.size
        if sum(header) != stop - start or header[1:3] != (8, 8):
            raise _damaged(path, f"item {position} breaks the layout")
        content = _read(descriptor, path, start, sum(header[:3]))
    finally:
        os.close(descriptor)
    image_id, checksum = struct.unpack("<qq", content[-16:])
    image = content[:-16]
    return ShardItem(image=image, image_id=image_id, is_intact=zlib.crc32(image) == checksum)


def _place(descriptor: int, path: Path, position: int) -> tuple[int, int]:
    """Where an item starts and stops in its file."""
    (num_items,) = struct.unpack("<I", _read(descriptor, path, 0, _NUMBER_SIZE))
    if not 0 <= position < num_items:
        raise _damaged(path, f"it has {num_items} items, item {position} is asked for")
    start, stop = struct.unpack("<2I", _read(descriptor, path, _NUMBER_SIZE * (1 + position), 2 * _NUMBER_SIZE))
    if stop - start < _HEADER.size:
        raise _damaged(path, f"item {position} breaks the layout")
    return start, stop


def _read(descriptor: int, path: Path, start: int, size: int) -> bytes:
    content = os.pread(descriptor, size, start)
    if len(content) != size:
        raise _damaged(path, f"it ends at byte {start + len(content)}, {start + size} are needed")
    return content


def _damaged(path: Path, what: str) -> ShardError:
    return ShardError(f"shard {path} is damaged: {what}; {REMEDY}")


REMEDY = "deta data shard with the same out repairs the shards, an emptied data.shard_cache fetches them again"
"""What every message about a bad shard ends with."""
