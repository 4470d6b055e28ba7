"""A split in shards, as the data module takes it."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from deta.data.coco import CocoAnnotations
from deta.data.files import path_inside
from deta.data.problems import MAX_EXAMPLES
from deta.data.sources import EncodedImage
from deta.data.streaming.cache import ShardCache, alone
from deta.data.streaming.layout import REMEDY, ShardError, read_item
from deta.data.streaming.manifest import ANNOTATIONS, MANIFEST, Manifest, Shard
from deta.data.streaming.store import FolderStore, Store, below, file_sha256, open_store
from deta.utils.checks import require_number
from deta.utils.files import replacing
from deta.utils.wording import counted


@dataclass(frozen=True, eq=False)
class ShardImages:
    """Images out of shards.

    Attributes:
        shards: Of the whole split; the ids of their images are not needed here.
        image_ids: ``[N]`` id of each image.
        numbers: ``[N]`` shard of each image.
        positions: ``[N]`` place of each image in its shard.
        folder: Where local shards lie; with a cache, where it keeps them.
        cache: Fetches remote shards; None where they are local.
    """

    shards: tuple[Shard, ...]
    image_ids: NDArray[np.int64]
    numbers: NDArray[np.int64]
    positions: NDArray[np.int64]
    folder: Path
    cache: ShardCache | None

    def open(self, index: int) -> EncodedImage:
        """The encoded image from its place in a shard.

        Raises:
            ShardError: If the shard is missing or damaged.
        """
        shard = self.shards[self.numbers[index]]
        path, image_id = self.folder / shard.name, int(self.image_ids[index])
        while True:
            try:
                item = read_item(path, int(self.positions[index]))
                break
            except FileNotFoundError as error:
                if self.cache is None:
                    raise ShardError(f"shard {path} is missing; {REMEDY}") from error
                self.cache.fetch(shard)
        if not item.is_intact or item.image_id != image_id:
            raise ShardError(f"shard {path} is damaged at image {image_id}; {REMEDY}")
        return EncodedImage(name=f"{image_id} in {path}", file=io.BytesIO(item.image))


class ShardedSplit:
    """The shards of one split.

    Args:
        address: Folder or ``s3://bucket/prefix`` that ``deta data shard`` filled.
        cache: Folder below which remote shards are kept; local ones are read where they are.
        cache_bytes: Largest sum of remote shards kept on this machine; None keeps all.
    """

    def __init__(self, *, address: str | Path, cache: Path, cache_bytes: int | None = None) -> None:
        self._store: Store = open_store(address)
        self._cache: ShardCache | None = None
        if isinstance(self._store, FolderStore):
            self._folder = self._store.folder
        else:
            name = urlsplit(self._store.address).path.strip("/").replace("/", "-")
            digest = hashlib.sha256(self._store.address.encode()).hexdigest()[:8]
            self._folder = cache / f"{name}-{digest}"
            self._cache = ShardCache(store=self._store, folder=self._folder, max_bytes=cache_bytes)
        self._manifest: Manifest | None = None

    @property
    def address(self) -> str:
        """Where the shards come from."""
        return self._store.address

    @property
    def annotation_file(self) -> Path:
        """The annotation file beside the shards."""
        return self._folder / ANNOTATIONS

    def prepare(self) -> None:
        """Fetch manifest and annotations of remote shards; drop cached shards of an earlier set.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If what lies there are no shards, or links lead out of their folder.
        """
        content = self._store.read(MANIFEST)
        if content is None:
            raise FileNotFoundError(
                f"{self._store.address} holds no finished shards ({MANIFEST} is missing): check data.shards, or "
                "make them with deta data shard"
            )
        if self._cache is None:
            path_inside(self._folder, ANNOTATIONS)
            return
        manifest = Manifest.from_json(content, f"{self._store.address}/{MANIFEST}")
        if self._is_mirrored(content, manifest):
            return  # all that a cache which cannot be written allows
        with alone(self._folder / "prepare.lock"):
            self._mirror(content, manifest)

    def require_images(self, annotations: CocoAnnotations) -> None:
        """Check that the annotation file is the one that was sharded, and that local shards are whole in size.

        Raises:
            ShardError: If not.
        """
        manifest = self._read_manifest()
        if file_sha256(self.annotation_file) != manifest.annotations_sha256:
            raise ShardError(f"{self.annotation_file} is not the annotation file of its shards; {REMEDY}")
        if self._cache is not None:
            return
        bad = [s.name for s in manifest.shards if self._store.size(s.name) != s.num_bytes]
        if bad:
            shown = ", ".join(bad[:MAX_EXAMPLES])
            raise ShardError(
                f"{len(bad)} of {counted(len(manifest.shards), 'shard')} in {self._folder} missing or of another size: "
                f"{shown}{' ...' if len(bad) > MAX_EXAMPLES else ''}; {REMEDY}"
            )

    def summary(self) -> str:
        """Number and size of the shards."""
        manifest = self._read_manifest()
        return f"{counted(len(manifest.shards), 'shard')} of {manifest.num_bytes / 2**20:.1f} MiB"

    def damaged(self) -> list[str]:
        """Names of shards and annotations that are missing or have another checksum; reads all where they are kept."""
        manifest = self._read_manifest()
        expected = {ANNOTATIONS: manifest.annotations_sha256, **{s.name: s.sha256 for s in manifest.shards}}
        return [name for name, checksum in expected.items() if self._store.sha256(name) != checksum]

    def images(self, annotations: CocoAnnotations) -> ShardImages:
        """Images of the shards that the manifest names for every image id."""
        manifest = self._read_manifest()
        if self._cache is None:
            for shard in manifest.shards:
                path_inside(self._folder, shard.name)
        numbers, positions = manifest.locate(annotations.image_ids)
        return ShardImages(
            shards=tuple(replace(shard, image_ids=()) for shard in manifest.shards),
            image_ids=annotations.image_ids,
            numbers=numbers,
            positions=positions,
            folder=self._folder,
            cache=self._cache,
        )

    def shards(self, annotations: CocoAnnotations) -> NDArray[np.int64]:
        """Number of the shard of every image, in the order of the annotations."""
        return self._read_manifest().locate(annotations.image_ids)[0]

    def _read_manifest(self) -> Manifest:
        if self._manifest is None:
            path = self._folder / MANIFEST
            if not path.is_file():
                raise FileNotFoundError(f"{path} does not exist: check data.shards, or call prepare_data first")
            self._manifest = Manifest.from_json(path.read_bytes(), str(path))
        return self._manifest

    def _is_mirrored(self, content: bytes, manifest: Manifest) -> bool:
        local = self._folder / MANIFEST
        is_same = local.is_file() and local.read_bytes() == content
        return is_same and self._has_annotations(manifest)

    def _has_annotations(self, manifest: Manifest) -> bool:
        return self.annotation_file.is_file() and file_sha256(self.annotation_file) == manifest.annotations_sha256

    def _mirror(self, content: bytes, manifest: Manifest) -> None:
        local = self._folder / MANIFEST
        if not local.is_file() or local.read_bytes() != content:
            for path in self._folder.glob("chunk-*.bin"):
                path.unlink()
            FolderStore(self._folder).put(MANIFEST, content)
        if not self._has_annotations(manifest):
            with replacing(self.annotation_file) as unfinished:
                self._store.fetch(ANNOTATIONS, unfinished)


def sharded_splits(
    shards: str | Path | None, cache: str | Path | None, cache_gb: float | None
) -> Mapping[str, ShardedSplit]:
    """``train`` and ``val`` below the address of ``deta data shard``, as the keys of a data module describe them.

    Raises:
        ValueError: If a key is missing or out of its range.
    """
    if shards is None:
        raise ValueError("data.source=shards needs data.shards, the folder or s3:// address of deta data shard")
    if "://" in str(shards) and cache is None:
        raise ValueError(f"data.shards={shards} needs data.shard_cache, a folder to keep shards in")
    num_bytes = None if cache_gb is None else int(1e9 * require_number("data.shard_cache_gb", cache_gb, low=0))
    folder = Path() if cache is None else Path(cache)
    return {
        name: ShardedSplit(address=below(shards, name), cache=folder, cache_bytes=num_bytes)
        for name in ("train", "val")
    }
