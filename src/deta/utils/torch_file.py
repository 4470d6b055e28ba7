"""Reading files of ``torch.save``: tensors and plain values, each checked against the checksum that was written.

``torch.load`` checks none of them, and inflates what is compressed before it compares sizes.
"""

import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from deta.utils.unpickling import MALFORMED, PlainUnpickler

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, lengths of name and extra field of a local file header."""
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_TAR_MAGIC = slice(257, 262)


@dataclass(frozen=True)
class TorchFile:
    """What a file holds.

    Attributes:
        content: Tensors on the CPU and plain values; ``Skipped`` where something else was.
        skipped: Names of what that was, sorted.
    """

    content: Any
    skipped: tuple[str, ...]


def read_torch_file(path: Path, *, is_published: bool = False) -> TorchFile:
    """Read a file of ``torch.save`` without running, importing or inflating anything that it names.

    Memory is bounded by the size of the file.

    Args:
        path: The file.
        is_published: Whether it is of another program: values of kinds that are no tensors, such as paths and
            NumPy's numbers, are skipped, and the format before PyTorch 1.6, which has no checksums, is read.

    Raises:
        ValueError: It is damaged, of another format, or holds programs; the message names the file.
        OSError: It cannot be opened.
    """
    with path.open("rb") as file:
        try:
            if zipfile.is_zipfile(file):
                return _Archive(file).read(is_published)
            if is_published:
                return _read_legacy(file)
            raise pickle.UnpicklingError(_format_of(file))
        except (*MALFORMED, OSError, zipfile.BadZipFile) as error:  # OSError: to seek before the beginning
            raise ValueError(
                f"{path} cannot be read as a checkpoint: damaged, of another format, or more than plain data "
                f"({_reason(error)})"
            ) from error


class _Archive:
    """A zip file of stored records, as PyTorch writes it since 1.6."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        entries = zipfile.ZipFile(file).infolist()
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) < len(entries):
            raise zipfile.BadZipFile("two records have one name")
        if sum(entry.file_size for entry in entries) > self._size:
            raise zipfile.BadZipFile("its records are larger than the file: it is no file of PyTorch")
        roots = [name.removesuffix("data.pkl") for name in self._entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise zipfile.BadZipFile("it has no record of values: it is no file of PyTorch")
        self._root = roots[0]
        if f"{self._root}constants.pkl" in self._entries:
            raise zipfile.BadZipFile("it is a program of TorchScript")
        self._storages: dict[tuple[str, torch.dtype], Tensor] = {}
        self._raw: dict[str, Tensor] = {}

    def read(self, is_published: bool) -> TorchFile:
        """Values and tensors."""
        if f"{self._root}byteorder" in self._entries:
            order = bytes(_bytes_of(self._record("byteorder")))
            if order != sys.byteorder.encode():
                raise zipfile.BadZipFile(f"its byte order is {order!r}")
        values = BytesIO(_bytes_of(self._record("data.pkl")))
        unpickler = PlainUnpickler(values, self._storage, skip_foreign=is_published)
        return TorchFile(unpickler.load(), tuple(sorted(unpickler.skipped)))

    def _storage(self, key: str, dtype: torch.dtype, size: int) -> Tensor:
        if (key, dtype) not in self._storages:
            if key not in self._raw:
                self._raw[key] = self._record(f"data/{key}")
            raw = self._raw[key]
            if raw.numel() != size * dtype.itemsize:
                raise zipfile.BadZipFile(f"record data/{key} has {raw.numel()} bytes for {size} numbers of {dtype}")
            self._storages[key, dtype] = raw.view(dtype)
        return self._storages[key, dtype]

    def _record(self, name: str) -> Tensor:
        """The bytes of a record, compared with their checksum."""
        entry = self._entries[f"{self._root}{name}"]
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise zipfile.BadZipFile(f"record {name} is compressed or encrypted, which PyTorch never does")
        self._file.seek(entry.header_offset)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
        written_name = self._file.read(name_length)
        if signature != b"PK\x03\x04" or written_name != entry.filename.encode():
            raise zipfile.BadZipFile(f"record {name} is not where it should be")
        self._file.seek(extra_length, 1)
        content = _read_bytes(self._file, entry.file_size)
        if zlib.crc32(_bytes_of(content)) != entry.CRC:
            raise zipfile.BadZipFile(f"record {name} is not what was written: its checksum differs")
        return content


def _read_legacy(file: BinaryIO) -> TorchFile:
    """The format before PyTorch 1.6: pickles one after the other, and then the storages."""
    size = file.seek(0, 2)
    format_of_file = _format_of(file)
    file.seek(0)
    storages: dict[str, tuple[Tensor, torch.dtype]] = {}

    def promise(key: str, dtype: torch.dtype, length: int) -> Tensor:
        if key not in storages:
            if length * dtype.itemsize + sum(flat.nbytes for flat, _ in storages.values()) > size:
                raise pickle.UnpicklingError("its numbers are cut off")
            storages[key] = torch.empty(length, dtype=dtype), dtype
        if storages[key][1] != dtype or len(storages[key][0]) != length:
            raise pickle.UnpicklingError("two tensors disagree about their storage")
        return storages[key][0]

    def load() -> Any:  # noqa: ANN401 - out of a file
        return PlainUnpickler(file, promise).load()

    if load() != _LEGACY_MAGIC or load() != _LEGACY_PROTOCOL:
        raise pickle.UnpicklingError(format_of_file)
    load()  # sizes of the machine that wrote it, which the storages do not depend on
    unpickler = PlainUnpickler(file, promise, skip_foreign=True)
    content = unpickler.load()
    for key in load():
        flat, _ = storages[key]
        if int.from_bytes(file.read(8), "little") != len(flat):
            raise pickle.UnpicklingError("its numbers are cut off or damaged")
        flat.view(torch.uint8).copy_(_read_bytes(file, flat.nbytes))
    return TorchFile(content, tuple(sorted(unpickler.skipped)))


def _read_bytes(file: BinaryIO, length: int) -> Tensor:
    content = torch.empty(length, dtype=torch.uint8)
    readinto: Callable[[Any], int] = file.readinto  # type: ignore[attr-defined]  # of a buffered reader
    if length and readinto(_bytes_of(content)) != length:
        raise EOFError("it ends too early")
    return content


def _bytes_of(content: Tensor) -> memoryview:
    return memoryview(content.numpy())  # type: ignore[arg-type]  # an array is a buffer


def _format_of(file: BinaryIO) -> str:
    """What a file looks like that is none of ours."""
    file.seek(0)
    begin = file.read(512)
    if not begin:
        return "it is empty"
    if not any(begin):
        return "it holds zeros"
    if begin[_TAR_MAGIC] == b"ustar":
        return "it is a tar file"
    if begin.startswith(b"PK"):
        return "it is cut off or no file of PyTorch"
    return "it is not in PyTorch's zip format"


def _reason(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    is_said = isinstance(error, (EOFError, zipfile.BadZipFile, pickle.UnpicklingError)) and line
    return line if is_said else f"{type(error).__name__} {line}".strip()
