"""Where shards are kept: a folder, or an object store that speaks S3."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from deta.data.files import path_inside
from deta.utils.files import replacing

_PIECE = 1 << 20
"""Bytes that are read at a time."""


class Store(Protocol):
    """Named files; each appears whole or not at all."""

    @property
    def address(self) -> str:
        """What messages call it."""
        ...

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None if there is none."""
        ...

    def size(self, name: str) -> int | None:
        """The size of a file in bytes, or None if there is none."""
        ...

    def sha256(self, name: str) -> str | None:
        """SHA-256 of a file in hexadecimal, which reads all of it, or None if there is none."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write a small file."""
        ...

    def move_in(self, path: Path, name: str) -> None:
        """Take over a local file."""
        ...

    def fetch(self, name: str, target: Path) -> str:
        """Copy a file to a local path and return its SHA-256 in hexadecimal.

        Raises:
            FileNotFoundError: If there is none.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a file if there is one."""
        ...


class FolderStore:
    """Files in a local folder, which is made by the first write; links that lead out of it are not followed.

    Args:
        folder: Of any file system.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def address(self) -> str:
        """Path of the folder."""
        return str(self.folder)

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None if there is none; a link that leads out is refused."""
        path = path_inside(self.folder, name)
        return path.read_bytes() if path.is_file() else None

    def size(self, name: str) -> int | None:
        """Its size in bytes, or None if there is none."""
        path = path_inside(self.folder, name)
        return path.stat().st_size if path.is_file() else None

    def sha256(self, name: str) -> str | None:
        """SHA-256 of its content in hexadecimal, or None if there is none."""
        path = path_inside(self.folder, name)
        return file_sha256(path) if path.is_file() else None

    def put(self, name: str, content: bytes) -> None:
        """Write a small file beside, and rename it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / name) as unfinished:
            unfinished.write_bytes(content)

    def move_in(self, path: Path, name: str) -> None:
        """Rename a file into the folder, by way of a copy from another file system."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / name) as unfinished:
            shutil.move(path, unfinished)

    def fetch(self, name: str, target: Path) -> str:
        """Copy a file to a local path and return its SHA-256 in hexadecimal; ``FileNotFoundError`` if there is none."""
        with path_inside(self.folder, name).open("rb") as source:
            return _copy(iter(lambda: source.read(_PIECE), b""), target)

    def delete(self, name: str) -> None:
        """Remove a file if there is one."""
        (self.folder / name).unlink(missing_ok=True)


class S3Store:
    """Objects below a prefix of a bucket.

    Login, region and endpoint are those of the AWS tools: ``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``,
    ``AWS_ENDPOINT_URL`` for another server, and so on. Every process makes its own connection.

    Args:
        address: ``s3://bucket/prefix``.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError(f"the address of shards must be a folder or s3://bucket/prefix, got {address}")
        if find_spec("boto3") is None:
            raise ModuleNotFoundError(f"{address} needs a package that is not installed: pip install boto3")
        self._address = address.rstrip("/")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._client: Any = None
        self._process = 0

    @property
    def address(self) -> str:
        """The address of the prefix."""
        return self._address

    def read(self, name: str) -> bytes | None:
        """The content of an object, or None if there is none."""
        body = self._open(name)
        return None if body is None else b"".join(body)

    def size(self, name: str) -> int | None:
        """Its size in bytes, or None if there is none; nothing is read."""
        with self._errors(name):
            answer = _unless_missing(self._connect().head_object, Bucket=self._bucket, Key=self._key(name))
        return None if answer is None else int(answer["ContentLength"])

    def sha256(self, name: str) -> str | None:
        """SHA-256 of its content in hexadecimal, for which all of it is read, or None if there is none."""
        body = self._open(name)
        return None if body is None else _digest(body)

    def put(self, name: str, content: bytes) -> None:
        """Write a small object in one request."""
        with self._errors(name):
            self._connect().put_object(Bucket=self._bucket, Key=self._key(name), Body=content)

    def move_in(self, path: Path, name: str) -> None:
        """Upload a file and remove it here."""
        with self._errors(name), path.open("rb") as file:
            self._connect().put_object(Bucket=self._bucket, Key=self._key(name), Body=file)
        path.unlink()

    def fetch(self, name: str, target: Path) -> str:
        """Download an object and return its SHA-256 in hexadecimal; ``FileNotFoundError`` if there is none."""
        body = self._open(name)
        if body is None:
            raise FileNotFoundError(f"{self._address}/{name} does not exist")
        return _copy(body, target)

    def delete(self, name: str) -> None:
        """Remove an object if there is one."""
        with self._errors(name):
            self._connect().delete_object(Bucket=self._bucket, Key=self._key(name))

    def __getstate__(self) -> dict[str, Any]:
        """Without the connection, which belongs to this process."""
        return {**self.__dict__, "_client": None}

    def _open(self, name: str) -> Iterator[bytes] | None:
        with self._errors(name):
            answer = _unless_missing(self._connect().get_object, Bucket=self._bucket, Key=self._key(name))
        return None if answer is None else self._pieces(name, answer["Body"])

    def _pieces(self, name: str, body: Any) -> Iterator[bytes]:  # noqa: ANN401 - boto3 has no types
        with self._errors(name):
            yield from body.iter_chunks(_PIECE)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _connect(self) -> Any:  # noqa: ANN401 - boto3 has no types
        if self._client is None or self._process != os.getpid():  # connections do not survive a fork
            import boto3

            self._client, self._process = boto3.session.Session().client("s3"), os.getpid()
        return self._client

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise OSError(
                f"{self._address}/{name}: {error}; check the address, the login and AWS_ENDPOINT_URL"
            ) from error


def open_store(address: str | Path) -> Store:
    """The store of an address: ``s3://bucket/prefix``, or a folder."""
    return S3Store(str(address)) if "://" in str(address) else FolderStore(Path(address))


def below(address: str | Path, name: str) -> str:
    """The address of a part of a store."""
    return f"{str(address).rstrip('/')}/{name}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a local file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(pieces: Iterator[bytes], target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _digest(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _unless_missing(call: Any, **arguments: Any) -> Any:  # noqa: ANN401 - boto3 has no types
    """The answer of a request, or None if the object does not exist."""
    from botocore.exceptions import ClientError

    try:
        return call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
