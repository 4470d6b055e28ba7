"""Files that are written whole or not at all, and read with their name in every complaint."""

import errno
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
import yaml

Content = TypeVar("Content")

UNFINISHED = ".unfinished"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to, which then takes the place of ``path``, synced to the disk.

    A kill at any moment leaves the earlier file or the new one. A failure inside leaves the earlier one and removes
    what was written.

    Raises:
        OSError: The file cannot be written; the message names it and, where the disk is full, the disk.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        yield unfinished
        _sync(unfinished)
        unfinished.replace(path)
        _sync(path.parent)  # else the new name may be lost with the power
    except OSError as error:
        if error.errno is None:  # of the source that is copied, which its message names
            raise
        raise named(error, path) from error
    finally:
        unfinished.unlink(missing_ok=True)


def is_there(text: str | Path) -> bool:
    """Whether there is a file or folder of this name; a text that cannot be a path, too long a one too, names none."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def expanded(path: str | Path) -> Path:
    """The path with the home folder for ``~``; one that begins with the ``~`` of nobody known here is a usual name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def home_folder() -> Path:
    """The home folder of this user.

    Raises:
        FileNotFoundError: None is known, such as of a number in a container that stands for nobody there.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise FileNotFoundError("no home folder of this user is known: name one by HOME") from error


def write_text(path: Path, text: str) -> None:
    """Write ``path`` in UTF-8, see ``replacing``."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")


@contextmanager
def written_at_once(path: Path) -> Iterator[BinaryIO]:
    """Yield what to write to; its content becomes ``path`` at the end of the block, see ``replacing``.

    For writers of pictures: Pillow overlooks that only a part of a file fits on the disk.
    """
    content = io.BytesIO()
    yield content
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.getvalue())


def write_json(path: Path, content: object) -> None:
    """Write ``path`` as JSON, see ``replacing``; numbers that JSON does not know, such as NaN, become null."""
    write_text(path, json.dumps(without_non_finite(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path, kind: type[Content]) -> Content:
    """The content of a JSON file.

    Args:
        path: The file.
        kind: What it must be, such as a dataclass or ``dict[str, list[str]]``; further fields are ignored.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or holds something else.
    """
    return decode_json(path.read_bytes(), path, kind)


def decode_json(content: bytes, path: Path, kind: type[Content]) -> Content:
    """``read_json`` of a file whose content has been read.

    Raises:
        ValueError: It is damaged or holds something else.
    """
    try:
        return msgspec.convert(json.loads(content), kind)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise ValueError(f"{path} is damaged: {str(error) or type(error).__name__}") from error


def load_numbers(content: bytes) -> Any:  # noqa: ANN401 - whatever it holds
    """What a JSON text of numbers that are computed with holds.

    Raises:
        RecursionError: It is too deep.
        ValueError: It is damaged, or a number has more digits than can be computed with.
    """
    return json.loads(content, parse_int=_number)


def _number(digits: str) -> int:
    number = int(digits)
    if abs(number) > sys.float_info.max:
        raise ValueError(f"a number of {len(digits)} digits")
    return number


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML without aliases, by which a short file becomes endless."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias; any other node as PyYAML reads it."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """The content of a YAML file, plain values.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or has aliases.
    """
    content = path.read_bytes()
    try:
        return yaml.load(content, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # PyYAML's constructors raise any of these where a value does not fit its tag.
        raise ValueError(f"{path} is damaged: no plain YAML ({type(error).__name__})") from error


def remove_unfinished(folder: Path, of: str = "") -> None:
    """Remove what killed processes have left of files, or of the one named, which nobody may be writing now."""
    for path in folder.glob(f"{of}*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def without_non_finite(content: object) -> object:
    """The same containers with null in place of NaN and infinity."""
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {key: without_non_finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_non_finite(value) for value in content]
    return content


def named(error: OSError, path: Path) -> OSError:
    """The same error with the file in its message and, where the disk is full, the disk."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = next(parent for parent in path.resolve().parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
        reason += f" (the disk of {folder} has {free:,} bytes left: make room and start again)"
    return type(error)(error.errno, reason, str(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
