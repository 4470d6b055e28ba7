"""Shards of a remote store on the local disk: fetched on demand, once per machine, within a budget."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deta.data.streaming.layout import REMEDY, ShardError
from deta.data.streaming.manifest import Shard
from deta.data.streaming.store import Store
from deta.utils.files import remove_unfinished, replacing

_ATTEMPTS = 2
"""A transfer may damage a file; a second one that fails alike means that the store holds damage."""


class ShardCache:
    """A folder that all processes of a machine share.

    A shard appears in it whole and with the right checksum, or not at all. With a budget, the shards that were
    fetched first make room; readers of an evicted shard fetch it again.

    Args:
        store: Where the shards come from.
        folder: Of this store alone.
        max_bytes: Largest sum of the shards kept; None keeps all. One shard is always kept.
    """

    def __init__(self, *, store: Store, folder: Path, max_bytes: int | None = None) -> None:
        self._store = store
        self._folder = folder
        self._max_bytes = max_bytes

    def path(self, shard: Shard) -> Path:
        """Where a shard lies or will lie."""
        return self._folder / shard.name

    def fetch(self, shard: Shard) -> Path:
        """Fetch a shard unless it is there.

        Raises:
            ShardError: If the store does not have it, or holds another content than was written.
            OSError: If it cannot be written.
        """
        path = self.path(shard)
        if path.exists():
            return path
        with alone(self._folder / f"{shard.name}.lock"):
            if not path.exists():
                self._download(shard, path)
                self._make_room(path)
        return path

    def _download(self, shard: Shard, path: Path) -> None:
        remove_unfinished(self._folder, shard.name)
        with replacing(path) as unfinished:
            try:
                is_intact = any(self._store.fetch(shard.name, unfinished) == shard.sha256 for _ in range(_ATTEMPTS))
            except FileNotFoundError as error:
                raise ShardError(f"shard {self._store.address}/{shard.name} is missing; {REMEDY}") from error
            if not is_intact:
                address = f"{self._store.address}/{shard.name}"
                raise ShardError(f"shard {address} is damaged: its checksum is another; {REMEDY}")

    def _make_room(self, newest: Path) -> None:
        if self._max_bytes is None:
            return
        with alone(self._folder / "eviction.lock"):
            known = {path: path.stat() for path in self._folder.glob("chunk-*.bin")}
            excess = sum(state.st_size for state in known.values()) - self._max_bytes
            for path in sorted(known, key=lambda path: known[path].st_mtime_ns):
                if excess <= 0:
                    return
                if path != newest:
                    path.unlink()
                    excess -= known[path].st_size


@contextmanager
def alone(lock_file: Path) -> Iterator[None]:
    """Let only one process of the machine at a time into the block; the file and its folder stay.

    The lock ends with its process, however it ends; why not flufl.lock: see ``deta.runs.claims``.

    Raises:
        OSError: They cannot be made.
    """
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_file.open("w")
    except OSError as error:
        reason = f"{error.strerror}: data.shard_cache must be a folder that can be written"
        raise type(error)(error.errno, reason, str(lock_file)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
