"""What every output does."""

import os
from abc import ABC, abstractmethod
from pathlib import Path

from deta.inference.results import Result


class Output(ABC):
    """Files in a folder.

    A file is whole once the output is closed, also where the program was stopped before the last image.

    Args:
        folder: An existing one.

    Attributes:
        subfolder: Name of the folder in it that gets a file for each image; empty for outputs of one file.
    """

    subfolder = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def require_free(cls, folder: Path) -> None:
        """Refuse a folder with such files of other images, among which those of this prediction could not be told.

        Raises:
            FileExistsError: It has some.
        """
        place = folder / cls.subfolder
        if cls.subfolder and place.is_dir() and any(place.iterdir()):
            raise FileExistsError(
                f"{place} holds files of an earlier prediction, which would mix with those of this one: remove it, or "
                "give another hydra.run.dir"
            )

    @abstractmethod
    def add(self, result: Result, number: int) -> None:
        """Write what was found in the image with this number, counted from 1 in the order of the source."""

    def close(self) -> str:
        """Finish; what was written where, empty if nothing was."""
        return ""


_MOST_BYTES = 220
"""Of the begin of a name: file systems take 255, of which endings, and the name before a file is whole, need some."""


class Stems:
    """Begins of file names that no two images share; very long ones are cut."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, result: Result, number: int) -> str:
        """That of the picture, with its number before it where it is taken."""
        stem = os.fsencode(result.picture.stem)[:_MOST_BYTES].decode(errors="ignore")
        while stem in self._taken:
            stem = f"{number}_{stem}"
        self._taken.add(stem)
        return stem
