"""What every output does."""

from abc import ABC, abstractmethod
from pathlib import Path

from deta.inference.results import Result


class Output(ABC):
    """Files in a folder.

    A file is whole once the output is closed, also where the program was stopped before the last image.

    Args:
        folder: An existing one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def add(self, result: Result, number: int) -> None:
        """Write what was found in the image with this number, counted from 1 in the order of the source."""

    def close(self) -> str:
        """Finish; what was written where, empty if nothing was."""
        return ""


class Stems:
    """Begins of file names that no two images share."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, result: Result, number: int) -> str:
        """That of the picture, with its number before it where it is taken."""
        stem = result.picture.stem
        while stem in self._taken:
            stem = f"{number}_{stem}"
        self._taken.add(stem)
        return stem
