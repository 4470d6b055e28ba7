"""Files of published weights: found in a folder, or downloaded once, and checked."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deta.utils.files import named, write_text
from deta.zoo.download import DownloadError, download
from deta.zoo.table import Entry, entry

_log = logging.getLogger(__name__)

MIRROR = "DETA_WEIGHTS_URL"
"""Environment variable: an address below which all files lie by their names, in place of those of the publications."""


@dataclass(frozen=True)
class Places:
    """Where files of weights are looked for, and where they go.

    Attributes:
        folder: Looked through first, never written: ``DETA_WEIGHTS``.
        cache: Downloads lie in ``weights`` below it, and the sums of files without a published one: ``DETA_CACHE``.
        mirror: Address in place of those of the publications; None takes those.
    """

    folder: Path
    cache: Path
    mirror: str | None = None

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """As ``conf/paths/default.yaml`` has them."""
        home = environment.get("HOME", ".")
        return cls.of(
            environment.get("DETA_WEIGHTS", "../shared/weights"),
            environment.get("DETA_CACHE", f"{home}/.cache/deta"),
            environment,
        )

    @classmethod
    def of(cls, folder: str | Path, cache: str | Path, environment: Mapping[str, str] = os.environ) -> Self:
        """These folders, and the mirror of the environment."""
        return cls(Path(folder), Path(cache), environment.get(MIRROR) or None)

    @property
    def downloads(self) -> Path:
        """The folder of downloads."""
        return self.cache / "weights"

    def present(self, weights: Entry) -> Path | None:
        """The file of weights if it is there, unchecked."""
        paths = (self.folder / weights.file, self.downloads / weights.file)
        return next((path for path in paths if path.is_file()), None)


def find(name: str, places: Places | None = None) -> Path:
    """The file of published weights by their name, downloaded if it is not there yet.

    Its SHA-256 is compared with that of the publication, or else with that of the first time it was found here. Of
    several processes one downloads, and the others wait.

    Args:
        name: Of the table, see ``deta weights list``.
        places: Where to look; None is as the environment says.

    Raises:
        ValueError: No weights have that name, or the file has another sum.
        DownloadError: It cannot be downloaded, or only by a person with a browser.
        OSError: It cannot be written.
    """
    weights, places = entry(name), Places.of_environment() if places is None else places
    path = places.present(weights)
    if path is None:
        with _alone(places.downloads / f".{weights.file}.lock"):
            path = places.present(weights)
            if path is None:
                return _download(weights, places)
    wrong = _wrong_sum(path, weights, places)
    if wrong is not None:
        remedy = "remove it, and it is downloaded anew" if path.parent == places.downloads else "replace it"
        raise ValueError(f"{path} is damaged or another file: {wrong}: {remedy}")
    return path


def _download(weights: Entry, places: Places) -> Path:
    target = places.downloads / weights.file
    remedy = (
        f"save the file as {weights.file} in {places.folder} (DETA_WEIGHTS) or {places.downloads}, or name a mirror "
        f"that has it under this name in {MIRROR}"
    )
    if places.mirror is None and (weights.needs_browser or weights.url is None):
        where = "are published nowhere that is known" if weights.url is None else f"need a browser: {weights.url}"
        note = f" ({weights.note})" if weights.note else ""
        raise DownloadError(f"the weights {weights.name} {where}{note}: {remedy}")
    url = weights.address() if places.mirror is None else f"{places.mirror.rstrip('/')}/{weights.file}"
    assert url is not None
    try:
        _log.info("%s: %s to %s", weights.name, url, target)
        download(url, target)
    except DownloadError as error:
        raise DownloadError(f"{error}. Where there is no network, {remedy}") from error
    wrong = _wrong_sum(target, weights, places)
    if wrong is not None:
        target.unlink()
        raise DownloadError(f"what came from {url} is not {weights.name}, and was removed: {wrong}")
    return target


def _wrong_sum(path: Path, weights: Entry, places: Places) -> str | None:
    """In which way the sum of a file is another one than it was or should be; one that is not known yet is noted."""
    record = places.downloads / f"{weights.file}.sha256"
    noted = record.read_text(encoding="utf-8").split()[:1] if record.is_file() else []
    found = sha256(path)
    if weights.sha256 is not None and not found.startswith(weights.sha256):
        return f"its SHA-256 is {found}, and that of the publication ({weights.read_in['sha256']}) {weights.sha256}"
    if noted and found != noted[0]:
        return f"its SHA-256 is {found}, and was {noted[0]} ({record})"
    if not noted:
        _note_sum(record, found, path.name)
        if weights.sha256 is None:
            _log.info("%s: its sum is not published; %s is noted in %s", path, found, record)
    return None


def _note_sum(record: Path, found: str, name: str) -> None:
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_text(record, f"{found}  {name}\n")
    except OSError as error:
        _log.warning("the sum of %s cannot be noted (%s)", name, error)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends; why not flufl.lock: see ``deta.runs.claims``."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise named(error, lock.parent) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
