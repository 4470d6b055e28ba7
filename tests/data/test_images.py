import io
import os
import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deta.data import ImageError, images, read_image
from deta.data.images import ImageRules


@pytest.fixture(autouse=True)
def _forget_warnings() -> Iterator[None]:
    """Each test sees the once-per-process warning anew."""
    images._warn_about_alpha.cache_clear()
    yield
    images._warn_about_alpha.cache_clear()


def photo(height: int = 24, width: int = 32) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save(path: Path, image: Image.Image, **options: Any) -> Path:  # noqa: ANN401
    image.save(path, **options)
    return path


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def huge_png(path: Path, side: int) -> Path:
    """A valid PNG header that claims ``side`` x ``side`` grey pixels, without the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    return path


def test_pixels_are_those_of_the_file(tmp_path: Path) -> None:
    tensor = read_image(save(tmp_path / "a.png", photo()))
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), np.asarray(photo()))


def test_suffix_does_not_matter(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.jpg", photo(), format="png")).shape == (3, 24, 32)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "1"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    converted = photo().convert(mode)
    tensor = read_image(save(tmp_path / "a.tiff", converted))
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), np.asarray(converted.convert("RGB")))


def test_alpha_is_dropped_with_one_warning(tmp_path: Path) -> None:
    transparent = photo()
    transparent.putalpha(Image.new("L", transparent.size, 7))
    path = save(tmp_path / "a.png", transparent)
    with pytest.warns(UserWarning, match="alpha channel"):
        tensor = read_image(path)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), np.asarray(photo()))
    read_image(path)


def test_transparent_palette_is_read_as_its_colours(tmp_path: Path) -> None:
    palette = photo().quantize(8)
    path = save(tmp_path / "a.png", palette, transparency=bytes(range(8)))
    with pytest.warns(UserWarning, match="alpha channel"):
        tensor = read_image(path)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), np.asarray(palette.convert("RGB")))


def test_sixteen_bits_are_refused_or_scaled_never_clipped(tmp_path: Path) -> None:
    grey = np.full((24, 32), 32639, dtype=np.uint16)  # 127 * 257
    path = save(tmp_path / "a.png", Image.fromarray(grey))
    with pytest.raises(ImageError, match=r"a\.png has 16 bits per pixel; .*scale_16bit"):
        read_image(path)
    assert read_image(path, rules=ImageRules(scale_16bit=True)).unique().tolist() == [127]


def test_of_sixteen_bit_colours_the_upper_eight_bits_are_kept(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">H", 0x7FA0) * 3 * 32 for _ in range(24))  # each begins with its filter, none
    head = struct.pack(">IIBBBBB", 32, 24, 16, 2, 0, 0, 0)  # 16 bits, RGB
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    assert read_image(path).unique().tolist() == [0x7F]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_refused(tmp_path: Path, dtype: type) -> None:
    path = save(tmp_path / "a.tiff", Image.fromarray(np.zeros((24, 32), dtype=dtype)))
    with pytest.raises(ImageError, match="32 bits per pixel"):
        read_image(path, rules=ImageRules(scale_16bit=True))


def test_orientation_is_applied_if_the_annotations_mean_the_turned_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(), exif=exif(6))
    turned = read_image(path, expected_size=(32, 24))
    np.testing.assert_array_equal(turned.permute(1, 2, 0).numpy(), np.rot90(np.asarray(photo()), k=-1))


def test_orientation_is_ignored_if_the_annotations_mean_the_stored_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(), exif=exif(6))
    stored = read_image(path, expected_size=(24, 32))
    np.testing.assert_array_equal(stored.permute(1, 2, 0).numpy(), np.asarray(photo()))


def test_orientation_is_applied_without_annotations(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.png", photo(), exif=exif(6))).shape == (3, 32, 24)


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_is_applied_or_ignored_in_every_format(tmp_path: Path, kind: str, orientation: int) -> None:
    path = save(tmp_path / f"a.{kind}", photo().convert("L"), exif=exif(orientation))
    plain = np.asarray(read_image(save(tmp_path / f"plain.{kind}", photo().convert("L"))))
    stored = np.asarray(read_image(path, rules=ImageRules(exif="ignore")))
    upright = np.asarray(read_image(path, rules=ImageRules(exif="apply")))
    np.testing.assert_array_equal(stored, plain)
    # EXIF names the sides of the upright image that row 0 and column 0 are, from 1 = top and left.
    turns = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (-1, False), 7: (-1, True), 8: (1, False)}
    quarters, is_mirrored = turns[orientation]
    pixels = plain[:, :, ::-1] if is_mirrored else plain
    np.testing.assert_array_equal(upright, np.rot90(pixels, k=quarters, axes=(1, 2)))


@pytest.mark.parametrize(
    ("orientation", "size", "rule", "outcome"),
    [
        (1, (24, 32), "apply", "none"),
        (6, (24, 32), "auto", "ignored"),
        (6, (32, 24), "auto", "applied"),
        (6, None, "auto", "applied"),
        (6, None, "ignore", "ignored"),
        (3, (24, 32), "auto", "undecided"),
        (3, (24, 32), "apply", "applied"),
        (3, (24, 32), "ignore", "ignored"),
    ],
)
def test_what_became_of_the_orientation_is_told(
    tmp_path: Path, orientation: int, size: tuple[int, int] | None, rule: str, outcome: str
) -> None:
    path = save(tmp_path / "a.jpg", photo(), exif=exif(orientation))
    decoded = images.decode_image(path, name="a", expected_size=size, rules=ImageRules(exif=rule))
    assert decoded.orientation == outcome


@pytest.mark.parametrize(("rule", "size"), [("apply", (24, 32)), ("ignore", (32, 24))])
def test_an_orientation_against_the_annotated_size_is_refused_with_the_rule(
    tmp_path: Path, rule: str, size: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.png", photo(), exif=exif(6))
    with pytest.raises(ImageError, match=rf"EXIF orientation 6, exif={rule}\), the annotation file says"):
        read_image(path, expected_size=size, rules=ImageRules(exif=rule))


def test_a_damaged_exif_block_does_not_make_an_image_unusable(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", photo(), exif=exif(6))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"II*\0" if b"II*\0" in content else b"MM\0*", b"XXXX", 1))
    assert read_image(path).shape == (3, 24, 32)


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path, tmp_path / "pipe.jpg"):
        with pytest.raises(ImageError, match=f"image {path} is a folder or device, not a file"):
            read_image(path)


def test_running_out_of_open_files_is_no_fault_of_the_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match=r"Too many open files: '.*a\.png'"):
            read_image(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_size_other_than_annotated_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(), exif=exif(6))
    with pytest.raises(ImageError, match=r"a\.png is 24 x 32 .*orientation 6\), the annotation file says 24 x 33"):
        read_image(path, expected_size=(24, 33))


def test_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    photo(200, 200).save(buffer, "jpeg")
    path = tmp_path / "a.jpg"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(ImageError, match=r"a\.jpg cannot be decoded: .*truncated"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", bytes(range(256))])
def test_file_that_is_no_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.jpg cannot be decoded"):
        read_image(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.jpg does not exist"):
        read_image(tmp_path / "a.jpg")


def test_image_of_absurd_size_is_refused_by_name(tmp_path: Path) -> None:
    for side in (10_001, 20_000):  # Pillow warns of the one and refuses the other
        with pytest.raises(ImageError, match=rf"a\.png has {side**2} pixels, at most 100000000 .* max_image_pixels"):
            read_image(huge_png(tmp_path / "a.png", side))


def test_image_below_the_smallest_side_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(1, 1))
    with pytest.raises(ImageError, match=r"a\.png is 1 x 1 pixels .* accepted is 8"):
        read_image(path)
    assert read_image(path, rules=ImageRules(min_side=1)).shape == (3, 1, 1)
