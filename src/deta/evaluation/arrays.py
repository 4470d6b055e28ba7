"""Files of arrays that an evaluation writes, read with every fault in one message."""

import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ERRORS = (
    ValueError, TypeError, KeyError, OSError, EOFError, NotImplementedError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""What numpy, zipfile and zlib raise at a damaged archive."""


def read_arrays(
    path: Path, names: Collection[str], *, what: str, remedy: str, later: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file.

    Args:
        path: Of the file.
        names: Those that it must hold, no others.
        what: What it should be, for messages.
        remedy: What to do if it is not, for messages.
        later: Those that it may hold besides, all or none: files of a former version lack them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{what} {path} do not exist")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            found = {name: np.asarray(content[name]) for name in content.files}
    except _ERRORS as error:
        raise ValueError(f"{path} cannot be read as {what} ({type(error).__name__}: {error}): {remedy}") from error
    if set(found) not in ({*names}, {*names, *later}):
        raise ValueError(f"{path} does not hold {what} of this version: {remedy}")
    return found
