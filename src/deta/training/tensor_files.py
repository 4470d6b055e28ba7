"""Files of tensors, written whole or not at all."""

from pathlib import Path
from typing import IO, Any

import torch

from deta.utils.files import replacing


def save_tensors(content: Any, path: Path) -> None:  # noqa: ANN401 - whatever torch.save takes
    """``torch.save`` by ``replacing``.

    Raises:
        OSError: The file cannot be written; PyTorch alone would tell a full disk as a failure of its own.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        output = _Output(file)
        try:
            torch.save(content, output)  # type: ignore[arg-type]  # it only writes
        except RuntimeError:
            if output.error is not None:
                raise output.error from None
            raise


class _Output:
    """A file that remembers why it could not be written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()
