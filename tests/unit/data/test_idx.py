from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tests.support.idx_files import idx_bytes, write_idx_split
from trtqat.data.dataset import files_of, open_dataset
from trtqat.data.idx import read_idx, read_split, scale
from trtqat.errors import DataError, UsageError
from trtqat.tensors import TensorSpec

INPUT = TensorSpec("images", (-1, 1, 28, 28))
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize("packed", [False, True])
def test_both_splits(tmp_path: Path, packed: bool) -> None:
    for split, count in (("train", 13), ("test", 7)):
        images, labels = write_idx_split(tmp_path, split, count, packed=packed, seed=count)
        read_images, read_labels = read_split(tmp_path, split)  # type: ignore[arg-type]
        np.testing.assert_array_equal(read_images, images[:, None])
        np.testing.assert_array_equal(read_labels, labels)
        assert read_images.dtype == np.uint8
        assert read_labels.dtype == np.int64
        # What torch.from_numpy asks for.
        assert read_images.flags.writeable


@given(array=arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 5)] * 3)), packed=st.booleans())
def test_values_by_row_and_any_size(
    array: NDArray[np.uint8], packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("idx") / "any"
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path, 3), array)


def test_layout_is_that_of_the_page() -> None:
    # The first bytes of MNIST's test images, as its page lists them: 2051, 10000, 28, 28.
    header = idx_bytes(np.zeros((10_000, 28, 28), np.uint8))[:16]
    assert header == struct.pack(">4i", 2051, 10_000, 28, 28)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("-idx", ".idx"),
        # A browser may unpack a file and leave its name, or the other way round.
        lambda name: f"{name}.gz",
    ],
)
def test_names_that_others_give(tmp_path: Path, rename: Callable[[str], str]) -> None:
    _, labels = write_idx_split(tmp_path, "test", 3)
    for name in (IMAGES, LABELS):
        (tmp_path / name).rename(tmp_path / rename(name))
    np.testing.assert_array_equal(read_split(tmp_path, "test")[1], labels)


def test_unpacked_goes_before_packed(tmp_path: Path) -> None:
    write_idx_split(tmp_path, "test", 5, packed=True)
    write_idx_split(tmp_path, "test", 3)
    assert len(read_split(tmp_path, "test")[1]) == 3


def test_pixels_are_scaled_and_nothing_else(tmp_path: Path) -> None:
    images, labels = write_idx_split(tmp_path, "test", 8)
    dataset = open_dataset(f"idx:{tmp_path}", [INPUT])
    assert (len(dataset), dataset.name) == (8, f"idx:{tmp_path}")
    batches = [dataset.batch(start, min(start + 3, 8)) for start in range(0, 8, 3)]
    pixels = np.concatenate([batch.inputs["images"] for batch in batches])
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, images[:, None] / 255.0, rtol=1e-6)
    read = [batch.labels for batch in batches]
    np.testing.assert_array_equal(np.concatenate(read), labels)  # type: ignore[arg-type]


def test_the_ends_of_the_scale() -> None:
    np.testing.assert_array_equal(scale(np.array([0, 255], np.uint8)), np.array([0, 1], np.float32))


@pytest.mark.parametrize(
    ("shape", "sample"),
    [
        ((-1, 28, 28), (28, 28)),
        ((-1, 1, -1, -1), (1, 28, 28)),
        ((-1, -1, 28, 28), (1, 28, 28)),
        ((4, -1, -1), (28, 28)),
    ],
)
def test_with_a_channel_or_without(
    tmp_path: Path, shape: tuple[int, ...], sample: tuple[int, ...]
) -> None:
    images, _ = write_idx_split(tmp_path, "test", 4)
    batch = open_dataset(f"idx:{tmp_path}", [TensorSpec("x", shape)]).batch(1, 3)
    np.testing.assert_array_equal(batch.inputs["x"], scale(images[1:3]).reshape(2, *sample))


def test_half_precision_input(tmp_path: Path) -> None:
    write_idx_split(tmp_path, "test", 2)
    spec = TensorSpec("x", (-1, 1, 28, 28), "float16")
    assert open_dataset(f"idx:{tmp_path}", [spec]).batch(0, 2).inputs["x"].dtype == np.float16


def test_limit_takes_the_first(tmp_path: Path) -> None:
    images, _ = write_idx_split(tmp_path, "test", 9)
    dataset = open_dataset(f"idx:{tmp_path}", [INPUT], limit=5)
    assert len(dataset) == 5
    np.testing.assert_array_equal(dataset.batch(3, 5).inputs["images"], scale(images[3:5])[:, None])
    with pytest.raises(IndexError):
        dataset.batch(3, 6)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "has 0"),
        ([INPUT, TensorSpec("mask", (-1, 1, 28, 28))], r"has 2 \('images', 'mask'\)"),
        ([TensorSpec("x", (-1, 3, 28, 28))], "images of 1x28x28, but the model takes x:.x3x28x28"),
        ([TensorSpec("x", (-1, 1, 32, 32))], r"fit an input of \(N, 1, 28, 28\) or \(N, 28, 28\)"),
        ([TensorSpec("x", (-1, 784))], "but the model takes x:.x784"),
        ([TensorSpec("x", (-1, 1, 28, 28), "uint8")], "input 'x' takes uint8"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, specs: list[TensorSpec], message: str) -> None:
    write_idx_split(tmp_path, "test", 2)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(f"idx:{tmp_path}", specs)
    assert caught.value.remedy


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'.*absent' does not exist"):
        read_split(tmp_path / "absent", "test")
    with pytest.raises(DataError, match=f"has no {IMAGES}, {LABELS}"):
        read_split(tmp_path, "test")
    write_idx_split(tmp_path, "test", 2, packed=True)
    (tmp_path / f"{IMAGES}.gz").unlink()
    with pytest.raises(DataError, match=f"has no {IMAGES}\\."):
        read_split(tmp_path, "test")
    (tmp_path / f"{IMAGES}.gz").mkdir()
    with pytest.raises(DataError, match=r"images.*cannot be read: Is a directory"):
        read_split(tmp_path, "test")


def test_counts_differ(tmp_path: Path) -> None:
    write_idx_split(tmp_path, "test", 4)
    (tmp_path / LABELS).write_bytes(idx_bytes(np.zeros(5, np.uint8)))
    with pytest.raises(DataError, match=r"images-idx3-ubyte' holds 4 images, but .* 5 labels"):
        read_split(tmp_path, "test")


def test_labels_above_nine_are_labels(tmp_path: Path) -> None:
    write_idx_split(tmp_path, "test", 2)
    (tmp_path / LABELS).write_bytes(idx_bytes(np.array([46, 255], np.uint8)))
    assert read_split(tmp_path, "test")[1].tolist() == [46, 255]


WHOLE = idx_bytes(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3))
# Without the time, which would be in the names of tests, and differ between workers.
PACKED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is cut off in its header"),
        (WHOLE[:3], "is cut off in its header"),
        (WHOLE[:15], "is cut off in its header"),
        (WHOLE[:-1], r"declares 2 x 3 x 3 values, but ends after 17\."),
        (WHOLE[:16], r"declares 2 x 3 x 3 values, more than the file can hold"),
        (WHOLE + b"\0", "goes on behind them"),
        (b"\0\0\x0d\x03" + WHOLE[4:], "begins with 00 00 0d 03 instead of 00 00 08 03"),
        (idx_bytes(np.zeros(40, np.uint8)), "begins with 00 00 08 01 instead of"),
        (b"<!DOCTYPE html>, not found", "is no IDX file of images"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 0, 28, 28), "declares 0 x 28 x 28 values, so it is"),
        # Some 10^28 bytes, by twelve bytes that say so.
        (b"\0\0\x08\x03" + b"\xff" * 12, "more than the file can hold"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12, mtime=0), "more than the file can hold"),
        (gzip.compress(WHOLE[:-1], mtime=0), "but ends after 17"),
        (gzip.compress(WHOLE + b"\0", mtime=0), "goes on behind them"),
        (PACKED[:-9], "gzip data do not unpack"),
        (PACKED[:5], "gzip data do not unpack"),
        (PACKED[:10] + b"\xff" * 10 + PACKED[20:], "gzip data do not unpack"),
        # The checksum at the end is another.
        (PACKED[:-8] + b"\0" * 4 + PACKED[-4:], "gzip data do not unpack"),
        (PACKED + b"behind", "gzip data do not unpack"),
    ],
)
def test_damaged(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / IMAGES
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in caught.value.problem
    assert caught.value.remedy


def test_what_does_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / IMAGES).write_bytes(WHOLE)
    monkeypatch.setattr("trtqat.memory.free_bytes", lambda: 10)
    with pytest.raises(UsageError, match=r"values of '.*' take"):
        read_idx(tmp_path / IMAGES, 3)


def test_the_files_are_known(tmp_path: Path) -> None:
    expected = [tmp_path / IMAGES, tmp_path / LABELS]
    assert files_of(f"idx:{tmp_path}") == expected
    write_idx_split(tmp_path, "test", 2, packed=True)
    assert files_of(f"idx:{tmp_path}") == [path.with_name(f"{path.name}.gz") for path in expected]
    with pytest.raises(DataError, match="does not exist"):
        files_of("idx:nowhere")
