"""Which images must not be parted: the same picture, copies by their names, and what the user calls a group."""

import re
import unicodedata
from collections.abc import Hashable, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_MARKS = re.compile(
    r"""(?:
    [_ ]?(?:jpe?g|png|bmp|webp)?\.rf\.[0-9a-z]{8,}      # Roboflow: photo_jpg.rf.0123456789abcdef
    | [ _-]*\(\d+\)                                     # photo (2)
    | ~\d+                                              # photo~2
    | [ _-]+(?:copy|aug|augmented|[hv]?flip(?:ped)?|rot(?:ated)?[ _-]?\d*)(?:[ _-]*\d+)?   # photo - copy 2, photo_aug3
    )$""",
    re.VERBOSE,
)
"""What programs add to the name of a file when they copy or change it."""


def near_name(name: str) -> str:
    """What a file has in common with its copies: folder and stem without letter case and marks of a copy.

    ``photo (2).png``, ``Photo - copy.jpg``, ``photo_flip.jpg`` and ``photo_jpg.rf.0123456789abcdef.jpg`` all are near
    ``photo.jpg``; ``photo_2.jpg`` and ``other/photo.jpg`` are not.
    """
    path = PurePosixPath(unicodedata.normalize("NFC", name).casefold())
    stem = path.stem
    while (shorter := _MARKS.sub("", stem)) != stem and shorter:
        stem = shorter
    return f"{path.parent}/{stem}"


def units_of(*criteria: Sequence[Hashable]) -> NDArray[np.int64]:
    """Number of the unit that each image belongs to, ``[N]`` from 0, in order of their first images.

    Args:
        *criteria: Keys of all ``N`` images, at least one criterion; images with an equal key in any of them are of one
            unit, and so are those that are tied to each other by a third.
    """
    num = len(criteria[0])
    first, second = [], []
    for keys in criteria:
        seen: dict[Hashable, int] = {}
        for image, key in enumerate(keys):
            first.append(seen.setdefault(key, image))
            second.append(image)
    ties = coo_array((np.ones(len(first)), (np.array(first, int), np.array(second, int))), shape=(num, num))
    _, labels = connected_components(ties, directed=False)
    _, place, unit = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(place))[unit], dtype=np.int64)
