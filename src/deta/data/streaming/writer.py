"""From an image folder to shards: resumable, verified, and without effect where nothing changed."""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deta.data.coco import CocoAnnotations
from deta.data.decoding import ImageError, load_image
from deta.data.images import ImageRules
from deta.data.sources import FolderSplit
from deta.data.streaming.layout import MAX_SHARD_BYTES, ShardError, read_item, shard_item, write_shard
from deta.data.streaming.manifest import ANNOTATIONS, INDEX, MANIFEST, Manifest, Shard
from deta.data.streaming.store import Store, file_sha256
from deta.utils.checks import require_choice, require_int
from deta.utils.wording import counted


@dataclass(frozen=True)
class ShardingReport:
    """What making the shards of a split came to.

    Attributes:
        manifest: What the store holds.
        num_written: Shards that were written; the others lay there and were verified.
    """

    manifest: Manifest
    num_written: int


class ShardWriter:
    """Puts the images and annotations of a split into shards of a store.

    Every shard is read back after writing. A shard that lies there already is compared with the image files and
    by its checksum (in an unfinished set, where an earlier run was interrupted, by its size) and left alone; a
    damaged or missing one is written again.

    Args:
        annotations: Of all images of the split.
        files: Where the annotations were read from, a file that is copied beside the shards as it is, and the images.
        store: Where to.
        shard_bytes: Least size of a shard in bytes; the last one takes in the rest, which is less. A split that
            is smaller makes one shard.
        is_shuffled: Whether the shards are random samples of the split, rather than in the order of image ids.
        max_pixels: Most pixels of an image.
        on_bad_image: ``error`` raises where a file is not an image that can be decoded; ``skip`` leaves its place
            empty, which makes it an unusable image of a training as it is in the folder.
        say: Told about every shard.
    """

    def __init__(
        self,
        *,
        annotations: CocoAnnotations,
        files: FolderSplit,
        store: Store,
        shard_bytes: int = 64 * 2**20,
        is_shuffled: bool,
        max_pixels: int = ImageRules.max_pixels,
        on_bad_image: str = "error",
        say: Callable[[str], None],
    ) -> None:
        if find_spec("litdata") is None:
            raise ModuleNotFoundError("writing shards needs a package that is not installed: pip install litdata")
        self._annotations = annotations
        self._files = files
        self._images = files.images(annotations)
        self._store = store
        self._shard_bytes = require_int("shard_bytes", shard_bytes, low=1, high=MAX_SHARD_BYTES // 4)
        self._is_shuffled = is_shuffled
        self._max_pixels = max_pixels
        self._skips = require_choice("on_bad_image", on_bad_image, ("error", "skip")) == "skip"
        self._say = say
        self._num_written = 0

    def write(self) -> ShardingReport:
        """Write what is missing or damaged.

        Raises:
            ValueError: If the store holds shards of other images or annotations, or of another size.
            ImageError: If a file is not an image.
            OSError: If a file is missing or a shard cannot be written.
        """
        self._files.require_images(self._annotations)
        if not len(self._annotations):
            raise ValueError(f"{self._files.annotation_file} lists no images")
        earlier = self._earlier()
        plan = self._plan()
        if earlier is not None and len(earlier.shards) != len(plan):
            raise self._other_data(f"{counted(len(earlier.shards), 'shard')} instead of {len(plan)}")
        with tempfile.TemporaryDirectory() as name:
            workplace = Path(name)
            shards = []
            for number, indices in enumerate(plan):
                known = self._record(number) if earlier is None else earlier.shards[number]
                shards.append(self._shard(indices, number, known, earlier is not None, workplace))
            manifest = Manifest(
                annotations_sha256=file_sha256(self._files.annotation_file),
                num_annotations=self._annotations.report.num_annotations,
                shards=tuple(shards),
            )
            self._finish(manifest, plan, workplace)
        return ShardingReport(manifest=manifest, num_written=self._num_written)

    def _earlier(self) -> Manifest | None:
        """The manifest of a finished set."""
        content = self._store.read(MANIFEST)
        if content is None:
            return None
        manifest = Manifest.from_json(content, f"{self._store.address}/{MANIFEST}")
        if manifest.annotations_sha256 != file_sha256(self._files.annotation_file):
            raise self._other_data(f"annotations other than {self._files.annotation_file}")
        return manifest

    def _plan(self) -> list[NDArray[np.int64]]:
        """Images of every shard, as positions in the annotations."""
        order = np.arange(len(self._annotations))
        if self._is_shuffled:
            order = np.random.default_rng(0).permutation(len(order))
        sizes = [self._image_file(int(index)).stat().st_size for index in order]
        return [order[start:stop] for start, stop in _spans(sizes, self._shard_bytes)]

    def _shard(
        self,
        indices: NDArray[np.int64],
        number: int,
        known: Shard | None,
        is_finished: bool,
        workplace: Path,
    ) -> Shard:
        images = [self._image_file(int(index)).read_bytes() for index in indices]
        image_ids = tuple(self._annotations.image_ids[indices].tolist())
        source_sha256 = _sha256_of_all(images)
        if known is not None and (known.image_ids, known.source_sha256) != (image_ids, source_sha256):
            raise self._other_data(f"other images in {known.name}")
        if known is not None and self._is_there(known, is_finished):
            self._tell(known, "kept")
            return known
        images = [self._packed(int(index), image) for index, image in zip(indices, images, strict=True)]
        items = [shard_item(self._annotations, int(index), image) for index, image in zip(indices, images, strict=True)]
        path, _ = write_shard(workplace, number, items)
        _require_equal(path, image_ids, images)
        shard = Shard(
            name=path.name,
            num_bytes=path.stat().st_size,
            sha256=file_sha256(path),
            source_sha256=source_sha256,
            image_ids=image_ids,
        )
        self._store.move_in(path, shard.name)
        self._store.put(_record_name(number), json.dumps(asdict(shard)).encode())
        self._num_written += 1
        self._tell(shard, "written")
        return shard

    def _is_there(self, shard: Shard, is_finished: bool) -> bool:
        if is_finished:
            return self._store.sha256(shard.name) == shard.sha256
        return self._store.size(shard.name) == shard.num_bytes

    def _record(self, number: int) -> Shard | None:
        """What an interrupted run noted of a shard."""
        content = self._store.read(_record_name(number))
        name = f"{self._store.address}/{_record_name(number)}"
        return None if content is None else Shard.from_json(content, name)

    def _finish(self, manifest: Manifest, plan: Sequence[NDArray[np.int64]], workplace: Path) -> None:
        """Write the files beside the shards where they differ, the manifest last."""
        first = int(plan[0][0])
        path, config = write_shard(workplace, 0, [shard_item(self._annotations, first, b"")])
        path.unlink()
        index = {
            "chunks": [
                {"filename": s.name, "chunk_bytes": s.num_bytes, "chunk_size": len(s.image_ids), "dim": None}
                for s in manifest.shards
            ],
            "config": config,
            "updated_at": _sha256_of_all([shard.sha256.encode() for shard in manifest.shards]),
        }
        contents = {
            ANNOTATIONS: self._files.annotation_file.read_bytes(),
            INDEX: json.dumps(index, sort_keys=True).encode(),
            MANIFEST: manifest.to_json().encode(),
        }
        for name, content in contents.items():
            if self._store.read(name) != content:
                self._store.put(name, content)
        last = _record_name(len(plan) - 1)
        if self._num_written or self._store.size(last) is not None:
            for number in range(len(plan)):
                self._store.delete(_record_name(number))

    def _image_file(self, index: int) -> Path:
        file = self._images.open(index).file
        assert isinstance(file, Path)
        return file

    def _packed(self, index: int, content: bytes) -> bytes:
        """What goes into the place of an image: its content, or nothing where that is no image."""
        name = self._annotations.file_name(index)
        try:
            load_image(io.BytesIO(content), name=name, max_pixels=self._max_pixels)
        except ImageError as error:
            if not self._skips:
                raise ImageError(f"{error}; with data.on_bad_image=skip its place in the shard stays empty") from error
            self._say(f"{error}; its place in the shard is empty")
            return b""
        return content

    def _other_data(self, what: str) -> ValueError:
        return ValueError(
            f"{self._store.address} holds shards of other data or options ({what}): choose another out, or empty it"
        )

    def _tell(self, shard: Shard, what: str) -> None:
        self._say(
            f"{self._store.address}/{shard.name}: {counted(len(shard.image_ids), 'image')}, "
            f"{shard.num_bytes / 2**20:.1f} MiB, sha256 {shard.sha256}, {what}"
        )


def _spans(sizes: Sequence[int], least: int) -> list[tuple[int, int]]:
    """Cut a sequence into runs of at least this sum, the rest joined to the last run."""
    spans: list[tuple[int, int]] = []
    start = total = 0
    for stop, size in enumerate(sizes, start=1):
        total += size
        if total >= least:
            spans.append((start, stop))
            start, total = stop, 0
    if start < len(sizes):
        first = spans.pop()[0] if spans else start
        spans.append((first, len(sizes)))
    return spans


def _require_equal(path: Path, image_ids: Sequence[int], images: Sequence[bytes]) -> None:
    """Read a shard back."""
    for position, (image_id, image) in enumerate(zip(image_ids, images, strict=True)):
        item = read_item(path, position)
        if item.image != image or item.image_id != image_id or not item.is_intact:
            raise ShardError(f"{path.name} was not written as it should be (image {image_id}); check disk and memory")


def _record_name(number: int) -> str:
    return f"unfinished-{number}.json"


def _sha256_of_all(contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()
