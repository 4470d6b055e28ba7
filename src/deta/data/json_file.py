"""JSON files of any size: their parts are found without decoding them, so that only what is wanted takes memory."""

import mmap
import re
from codecs import getincrementaldecoder
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from deta.data.problems import shortened

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PLACE = re.compile(r" \(byte (\d+)\)$")
_NO_NUMBER = re.compile(rb"-?(?:NaN|nan|Infinity|inf)")
_HALF_PAIR = re.compile(rb"(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]..|\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])")
_NOT_BLANK = re.compile(rb"[^ \t\r\n]")
_EXCERPT = 60
"""Bytes before an error that the message shows."""
_UTF8_BLOCK = 2**24
_BLOCK = 2**20
"""Bytes in which lines are counted at once."""
_Content = TypeVar("_Content")


class _Key:
    """A key of an object, equal to none but itself, so that a doubled key is seen."""

    def __init__(self, text: str) -> None:
        self.text = text


def read_members(path: Path) -> dict[str, Raw]:
    """The values of the object that the file holds, by key, each still as text.

    The values belong to the file, which is mapped, not read: its pages are the system's to take back.

    Args:
        path: UTF-8 text, with or without byte order mark.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON (with line, column and what stands there; NaN is not JSON), not an object, or has
            a key twice.
    """
    pairs = _decode(path, dict[_Key, Raw], wanted="a JSON object")
    members: dict[str, Raw] = {}
    for key, value in pairs.items():
        if key.text in members:
            raise ValueError(
                f"{path} has the key {shortened(key.text)!r} more than once, which of them counts is not defined"
            )
        members[key.text] = value
    return members


def read_elements(path: Path) -> list[Raw]:
    """The elements of the list that the file holds, each still as text; see ``read_members``."""
    return _decode(path, list[Raw], wanted="a JSON list")


def elements(value: Raw) -> list[Raw] | None:
    """The elements of a list that is still text; None if it is none."""
    return msgspec.json.decode(value, type=list[Raw]) if kind_of(value) == "a list" else None


def kind_of(value: "Raw | memoryview[Any]") -> str:
    """What a value that is still text is."""
    names = {b"[": "a list", b"{": "an object", b'"': "a string", b"t": "true", b"f": "false", b"n": "null"}
    return names.get(bytes(memoryview(value)[:1]), "a number")


def require_lists(path: Path, members: Mapping[str, Raw], keys: Sequence[str]) -> list[list[Raw]]:
    """The elements of the lists under these keys.

    Raises:
        ValueError: There is no such key, or what it holds is not a list, or an empty one.
    """
    found = [elements(members[key]) if key in members else None for key in keys]
    for key, rows in zip(keys, found, strict=True):
        if not rows:
            found_keys = shortened(", ".join(members)) or "none"
            raise ValueError(f"{path} must have a non-empty list {key!r}; keys found: {found_keys}")
    return [rows for rows in found if rows is not None]


def _decode(path: Path, kind: type[_Content], *, wanted: str) -> _Content:
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty, it must hold {wanted}")
    with path.open("rb") as file:
        # Not closed here: what is found refers to it, and it goes with the last of these references.
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if content[:3] == _BYTE_ORDER_MARK:
        content = content[3:]
    _require_utf8(path, content)
    try:
        return msgspec.json.decode(content, type=kind, dec_hook=lambda _, text: _Key(text))
    except RecursionError as error:
        raise ValueError(f"{path} cannot be used: it is nested more than 1000 levels deep") from error
    except msgspec.ValidationError as error:
        start = _NOT_BLANK.search(content)
        found = kind_of(content[start.start() :] if start else content)
        raise ValueError(f"{path} must hold {wanted}, not {found}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: a key is not text in UTF-8, {error.reason}") from error
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {_explained(error, content)}") from error


def _require_utf8(path: Path, content: "memoryview[Any]") -> None:
    """Look at all of the text: values that nobody wants are skipped without being decoded."""
    decoder = getincrementaldecoder("utf-8")()
    for start in range(0, len(content), _UTF8_BLOCK):
        try:
            decoder.decode(content[start : start + _UTF8_BLOCK], final=start + _UTF8_BLOCK >= len(content))
        except UnicodeDecodeError as error:
            at = start + error.start
            raise ValueError(
                f"{path} is not valid JSON: it is not text in UTF-8 near byte {at} ({error.reason})"
            ) from error


def _explained(error: msgspec.DecodeError, content: "memoryview[Any]") -> str:
    message = str(error).removeprefix("JSON is malformed: ")
    place = _PLACE.search(message)
    at = int(place[1]) if place else len(content)
    message = message[: place.start()] if place else "the file ends too early"
    start = max(0, at - 1)
    literal = _NO_NUMBER.match(bytes(content[start : at + 9])) or _NO_NUMBER.match(bytes(content[at : at + 9]))
    if literal:
        message = f"{literal[0].decode()} is no number of JSON, write null or leave the row out"
    before = bytes(content[max(0, at - _EXCERPT) : at])
    if _HALF_PAIR.search(before[-16:]):
        message = "half of a surrogate pair is no character"
    line, column = _line_and_column(content, at)
    return f"{message} at line {line}, column {column}" + (
        f", after {before.decode(errors='replace')!r}" if before else ""
    )


def _line_and_column(content: "memoryview[Any]", at: int) -> tuple[int, int]:
    line, start = 1, 0
    for first in range(0, at, _BLOCK):
        block = bytes(content[first : min(first + _BLOCK, at)])
        line += block.count(b"\n")
        if b"\n" in block:
            start = first + block.rfind(b"\n") + 1
    return line, at - start + 1
