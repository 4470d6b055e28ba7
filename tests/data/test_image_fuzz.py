"""Mutated images of many formats: each is read, or refused by the one error that names it."""

import io
import random
import subprocess
import warnings
from contextlib import suppress
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deta.data.decoding import FORMATS, ImageError
from deta.data.images import ImageRules, decode_image

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns of what it overlooks
NAMES = tuple(name for name in FORMATS if name != "ICNS")  # Pillow writes that with a million pixels
RULES = ImageRules(min_side=1, max_pixels=10_000, scale_16bit=True)


def written() -> dict[str, bytes]:
    """A small image in every format of ours that Pillow writes, with an EXIF orientation where there can be one."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8)
    tags = Image.Exif()
    tags[0x0112] = 6
    contents = {}
    Image.init()
    with warnings.catch_warnings(action="ignore"):  # that Pillow will write some of them no more
        for name, mode in product((*NAMES, "EPS"), ("RGB", "P", "L", "1", "RGBA")):
            file = io.BytesIO()
            with suppress(KeyError, OSError, ValueError, TypeError):  # no writer, or not of this mode
                Image.fromarray(pixels).convert(mode).save(file, format=name, exif=tags)
                contents[f"{name} {mode}"] = file.getvalue()
    return contents


SEEDS = written()


def mutated(content: bytes, seed: int) -> bytes:
    """Bits flipped, parts cut, doubled, zeroed or set to the largest values, mostly near the beginning."""
    draw = random.Random(seed)
    data = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        place = int(len(data) * draw.random() ** 3)
        size = draw.choice((1, 1, 2, 4, 16))
        kind = draw.randrange(5)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[place : place + size] = draw.randbytes(size)
        elif kind == 2:
            data[place : place + size] = draw.choice((b"\0", b"\xff", b"\x7f")) * size
        elif kind == 3 and draw.random() < 0.3:
            del data[place:]
        else:
            data[place:place] = data[place : place + size]
    return bytes(data)


def read(content: bytes, rules: ImageRules = RULES) -> tuple[int, int] | None:
    """The size of the pixels, or None if the image is refused by name."""
    try:
        pixels = decode_image(io.BytesIO(content), name="photo.jpg", rules=rules).pixels
    except ImageError as refused:
        error = refused
    else:
        assert pixels.shape[0] == 3
        return pixels.shape[1], pixels.shape[2]
    assert "photo.jpg" in str(error)
    return None


def test_many_formats_are_tried() -> None:
    assert len({name.split()[0] for name in SEEDS}) >= 20


@pytest.mark.parametrize("name", SEEDS)
def test_an_image_as_it_was_written_is_read_unless_it_needs_a_program(name: str) -> None:
    is_refused = name.split()[0] in ("EPS", "SPIDER")  # SPIDER holds 32 bits per pixel
    assert (read(SEEDS[name]) is None) == is_refused


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 2**32))
def test_a_mutated_image_is_read_or_refused_by_name(name: str, seed: int) -> None:
    size = read(mutated(SEEDS[name], seed))
    assert size is None or size[0] * size[1] <= 4 * RULES.max_pixels  # of an icon the inner image counts


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(SEEDS)), content=st.binary(max_size=200))
def test_a_beginning_with_any_end_is_read_or_refused_by_name(name: str, content: bytes) -> None:
    read(SEEDS[name][:20] + content)


@pytest.mark.parametrize("wrapped", [False, True], ids=["EPS", "EPS inside IPTC"])
def test_no_program_is_started(tmp_path: Path, wrapped: bool) -> None:
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"
    path = tmp_path / "photo.jpg"
    path.write_bytes(iptc(content) if wrapped else content)
    with mock.patch.object(subprocess, "Popen", side_effect=AssertionError("a program was started")):
        with Image.open(path) as image:
            assert image.format == ("IPTC" if wrapped else "EPS")  # Pillow itself would take it
        with pytest.raises(ImageError, match=r"photo\.jpg cannot be decoded: it is of no format that is read"):
            decode_image(path, name=str(path))


def iptc(content: bytes) -> bytes:
    """A file of IPTC records that describe a grey image and hold ``content``."""

    def record(kind: int, number: int, value: bytes) -> bytes:
        return bytes((0x1C, kind, number)) + len(value).to_bytes(2, "big") + value

    fields = [(60, b"\1\0"), (20, b"\x09"), (30, b"\x09"), (120, b"\5")]
    return b"".join(record(3, *field) for field in fields) + record(8, 10, content)
