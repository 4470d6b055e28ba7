"""Image files: every format that Pillow writes, broken in many ways."""

import io
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from deta.data.images import decode_image
from scripts.fuzz.mutations import change_bytes
from scripts.fuzz.trial import Case

_MODES = ("RGB", "L", "RGBA", "P", "CMYK", "1", "I;16", "I", "F", "LA", "YCbCr")
_NO_PICTURES = ("PDF", "EPS", "BUFR", "GRIB", "HDF5", "WMF")
"""Formats that another program or nothing decodes."""
_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n{} loop\n"


class Images:
    """Bit flips, truncation, swapped parts, and content that starts another program.

    Attributes:
        sound: Files that nothing is wrong with, by format and mode.
    """

    name = "images"
    suffix = ".jpg"
    seconds = 20.0

    def __init__(self) -> None:
        Image.init()
        self.sound = dict(_sound_files())

    def make(self, random: Random) -> Case:
        """A sound picture with some bytes changed, or a document that is none."""
        if random.random() < 0.02:
            return Case("EPS", _EPS)
        name = random.choice(list(self.sound))
        changes = []
        content = self.sound[name]
        for _ in range(random.choice((0, 1, 1, 1, 2, 8))):
            change, content = change_bytes(content, random)
            changes.append(change)
        return Case(f"{name}: {', '.join(changes)}", content)

    def check(self, path: Path, case: Case) -> str | None:
        """Decode it, and compare it with what Pillow says of it."""
        read = decode_image(path, name=str(path))
        with Image.open(io.BytesIO(case.content)) as image:
            if image.format in _NO_PICTURES:
                return f"accepted {image.format}"
            image.load()
            expected = max(image.size), min(image.size)
        height, width = read.pixels.shape[1:]
        return None if (max(height, width), min(height, width)) == expected else "another size"


def _sound_files() -> list[tuple[str, bytes]]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    files = []
    for name in sorted(Image.SAVE):
        for mode in _MODES:
            file = io.BytesIO()
            try:
                picture.convert("L" if mode == "I;16" else mode).convert(mode).save(file, name)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError):
                continue  # the format has no such pixels
            files.append((f"{name} {mode}", file.getvalue()))
    return files
