"""The image files that an annotation file names."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from deta.data.coco import CocoAnnotations
from deta.data.problems import MAX_EXAMPLES


@dataclass(frozen=True)
class UnusableFiles:
    """Images that must not or cannot be read.

    Attributes:
        missing: Names that are no files below the image folder.
        leaving: Names of files that a link leads to out of the image folder.
    """

    missing: tuple[str, ...]
    leaving: tuple[str, ...]


def unusable_files(annotations: CocoAnnotations, image_folder: Path) -> UnusableFiles:
    """Look at every image file once; links are followed where there are any. The image folder itself may be one."""
    root = image_folder.resolve()
    is_inside: dict[Path, bool] = {}  # by folder
    missing, leaving = [], []
    for index in range(len(annotations)):
        name = annotations.file_name(index)
        path = root / name
        if path.parent not in is_inside:
            is_inside[path.parent] = _lies_in(path.parent, root)
        try:
            mode = path.lstat().st_mode
            is_link = stat.S_ISLNK(mode)
            is_file = stat.S_ISREG(path.stat().st_mode if is_link else mode)
        except OSError:
            is_file = is_link = False
        if not is_file:
            missing.append(name)
        elif not is_inside[path.parent] or (is_link and not _lies_in(path, root)):
            leaving.append(name)
    return UnusableFiles(tuple(missing), tuple(leaving))


def require_files(annotations: CocoAnnotations, image_folder: Path) -> None:
    """Check that every image is a file that lies in the folder.

    Raises:
        FileNotFoundError: One does not exist; the message has count and first names.
        ValueError: A link leads to one outside the folder.
    """
    if not image_folder.is_dir():
        raise FileNotFoundError(f"image folder {image_folder} does not exist; check data.root and the folders below it")
    found = unusable_files(annotations, image_folder)
    if found.missing:
        raise FileNotFoundError(
            f"{len(found.missing)} of {len(annotations)} images do not exist in {image_folder}: {_some(found.missing)}"
        )
    if found.leaving:
        raise ValueError(
            f"{len(found.leaving)} of {len(annotations)} images are links that lead out of {image_folder}: "
            f"{_some(found.leaving)}; copy them into it, or name as image folder one that holds links and files"
        )


def _lies_in(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)  # unlike resolve, it says nothing of loops


def _some(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:MAX_EXAMPLES])}{' ...' if len(names) > MAX_EXAMPLES else ''}"
