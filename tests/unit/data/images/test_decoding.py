"""Files that somebody changed: an image or a sentence comes out, and nothing else."""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.image_files import drawn
from trtqat.data.images.decoding import BrokenImageError, Decoded, decode, size_of, why_broken
from trtqat.data.images.options import ImageOptions

OPTIONS = ImageOptions(resize=8, crop=(8, 8))


@functools.cache
def encoded(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(drawn(0)).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@given(data=st.data())
def test_a_changed_file_is_an_image_or_broken(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(encoded(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("one") / "changed"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    found: Decoded | str
    try:
        found = decode(path, OPTIONS, 3)
    except BrokenImageError as error:
        found = error.why
    if isinstance(found, str):
        assert found
    else:
        assert found.pixels.shape == (8, 8, 3)
        assert found.pixels.dtype == np.uint8


def orientation(kind: int, value: bytes) -> bytes:
    """EXIF with one entry, the orientation, of one of TIFF's types."""
    return struct.pack("<2sHIHHHI4sI", b"II", 42, 8, 1, 0x0112, kind, 1, value, 0)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize(
    ("exif", "is_turned"),
    [
        (orientation(3, b"\6\0\0\0"), True),
        (orientation(3, b"\x09\0\0\0"), False),
        (orientation(4, b"\xff\xff\xff\xff"), False),
        (orientation(2, b"a\0\0\0"), False),
        (orientation(7, b"\6\0\0\0"), False),
        # NaN.
        (orientation(11, b"\0\0\xc0\x7f"), False),
        (b"no EXIF", False),
    ],
)
def test_an_orientation_that_is_none_turns_nothing(
    exif: bytes, is_turned: bool, kind: str, tmp_path: Path
) -> None:
    pixels = drawn(0, 8, 12)
    Image.fromarray(pixels).save(tmp_path / "x", kind, exif=exif, lossless=True)
    found = decode(tmp_path / "x", ImageOptions(), 3).pixels
    np.testing.assert_array_equal(found, np.rot90(pixels, -1) if is_turned else pixels)
    assert size_of(tmp_path / "x", ImageOptions()) == ((8, 12) if is_turned else (12, 8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_half_a_file_is_broken(kind: str, tmp_path: Path) -> None:
    content = encoded(kind)
    path = tmp_path / "half"
    path.write_bytes(content)
    assert why_broken(path) is None
    path.write_bytes(content[: len(content) // 2])
    assert why_broken(path)
    with pytest.raises(BrokenImageError, match="half' cannot be decoded"):
        decode(path, OPTIONS, 3)


@pytest.mark.parametrize(("make", "message"), [("mkdir", "Is a directory"), ("", "No such file")])
def test_what_is_no_file(make: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    if make:
        path.mkdir()
    with pytest.raises(BrokenImageError, match=message):
        decode(path, OPTIONS, 3)


def test_the_first_image_of_several(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (10, 200)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    assert (decode(tmp_path / "two.tif", OPTIONS, 3).pixels[..., 0] == 10).all()
