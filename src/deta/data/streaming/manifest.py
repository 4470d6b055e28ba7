"""What a set of shards holds: written last, so that a set without it is unfinished."""

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from deta.utils.wording import counted

MANIFEST = "shards.json"
ANNOTATIONS = "annotations.json"
INDEX = "index.json"
"""LitData's own index of the same shards."""
VERSION = 1
"""Raised by every change of the layout."""
ShardName = Annotated[str, msgspec.Meta(pattern=r"\Achunk-[0-9]{1,9}-[0-9]{1,9}\.bin\Z")]
"""A name that leads nowhere but into the folder of the shards."""
Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
ImageId = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Shard:
    """One shard.

    Attributes:
        name: Of its file.
        num_bytes: Its size.
        sha256: Of the whole file, in hexadecimal.
        source_sha256: Of the image files that went into it, one after the other.
        image_ids: Its images, in their order.
    """

    name: ShardName
    num_bytes: Annotated[int, msgspec.Meta(ge=1)]
    sha256: Sha256
    source_sha256: Sha256
    image_ids: tuple[ImageId, ...]

    @classmethod
    def from_json(cls, text: bytes | str, source: str) -> Self:
        """The shard that ``asdict`` describes, see ``Manifest.from_json``."""
        return _decode(text, cls, source)


@dataclass(frozen=True)
class Manifest:
    """All shards of a split.

    Attributes:
        annotations_sha256: Of the annotation file, which lies beside the shards as it was.
        num_annotations: Annotations in that file.
        shards: In the order of their numbers, at least one.
    """

    annotations_sha256: Sha256
    num_annotations: Annotated[int, msgspec.Meta(ge=0)]
    shards: Annotated[tuple[Shard, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        if len({shard.name for shard in self.shards}) < len(self.shards):
            raise ValueError("a shard is listed twice")

    @property
    def num_images(self) -> int:
        """Images of all shards."""
        return sum(len(shard.image_ids) for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.num_bytes for shard in self.shards)

    def locate(self, image_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of the shard and position in it of every image, each ``[N]``.

        Raises:
            ValueError: If an image lies in no shard.
        """
        lengths = [len(shard.image_ids) for shard in self.shards]
        held = np.asarray([identity for shard in self.shards for identity in shard.image_ids], dtype=np.int64)
        numbers = np.repeat(np.arange(len(lengths)), lengths)
        positions = np.concatenate([np.arange(length) for length in lengths])
        order = np.argsort(held, kind="stable")
        rows = np.searchsorted(held, image_ids, sorter=order)
        found = order[np.minimum(rows, len(held) - 1)]
        is_missing = held[found] != image_ids
        if is_missing.any():
            missing = counted(int(is_missing.sum()), "image lies", "images lie")
            raise ValueError(f"{missing} in no shard, such as {image_ids[is_missing][0]}")
        return numbers[found], positions[found]

    def to_json(self) -> str:
        """The manifest as text."""
        return json.dumps({"version": VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: bytes | str, source: str) -> Self:
        """The manifest of ``to_json``.

        Args:
            text: Its content.
            source: Where it lies, for the message.

        Raises:
            ValueError: If it is none, or one of another version.
        """
        version = _decode(text, _Versioned, source).version
        if version != VERSION:
            raise ValueError(f"{source} has version {version}, this deta reads {VERSION}: make the shards anew")
        return _decode(text, cls, source)


class _Versioned(msgspec.Struct):
    version: int


def _decode(text: bytes | str, kind: type[_Kind], source: str) -> _Kind:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{source} is not a list of shards as deta data shard writes it ({error})") from error
