from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from trtqat.data.cifar10 import (
    MEAN,
    RECORD_BYTES,
    STD,
    TEST_FILES,
    TRAIN_FILES,
    normalize,
    read_batch_file,
    read_split,
    write_batch_file,
)
from trtqat.data.dataset import files_of, open_dataset
from trtqat.errors import DataError, UsageError
from trtqat.tensors import TensorSpec

INPUT = TensorSpec("input", (-1, 3, 32, 32))


def samples(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)
    return images, generator.integers(0, 10, count)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for seed, name in enumerate((*TRAIN_FILES, *TEST_FILES)):
        write_batch_file(tmp_path / name, *samples(3 + seed, seed))
    return tmp_path


@given(
    images=arrays.arrays(np.uint8, st.tuples(st.integers(1, 3), *map(st.just, (3, 32, 32)))),
    data=st.data(),
)
def test_write_then_read_gives_the_same(
    images: NDArray[np.uint8], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    labels = data.draw(arrays.arrays(np.int64, len(images), elements=st.integers(0, 9)))
    path = tmp_path_factory.mktemp("written") / "test_batch.bin"
    write_batch_file(path, images, labels)
    assert path.stat().st_size == len(images) * RECORD_BYTES
    read_images, read_labels = read_batch_file(path)
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)
    assert read_images.dtype == np.uint8
    assert read_labels.dtype == np.int64
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_layout_is_label_then_planes_by_row(tmp_path: Path) -> None:
    record = bytearray(RECORD_BYTES)
    record[0] = 7
    record[1 + 0] = 11  # red, row 0, column 0
    record[1 + 1024 + 32] = 12  # green, row 1, column 0
    record[1 + 3071] = 13  # blue, row 31, column 31: the last byte
    (tmp_path / "one.bin").write_bytes(record)
    images, labels = read_batch_file(tmp_path / "one.bin")
    assert labels.tolist() == [7]
    assert (images[0, 0, 0, 0], images[0, 1, 1, 0], images[0, 2, 31, 31]) == (11, 12, 13)
    assert np.count_nonzero(images) == 3


@given(
    pixel=st.integers(0, 255),
    channel=st.integers(0, 2),
    row=st.integers(0, 31),
    column=st.integers(0, 31),
)
def test_normalize_each_channel_by_its_own(pixel: int, channel: int, row: int, column: int) -> None:
    images = np.zeros((2, 3, 32, 32), np.uint8)
    images[1, channel, row, column] = pixel
    result = normalize(images)
    assert result.dtype == np.float32
    expected = (pixel / 255 - MEAN[channel]) / STD[channel]
    assert result[1, channel, row, column] == pytest.approx(expected, abs=1e-6)
    assert result[0, channel, row, column] == pytest.approx(-MEAN[channel] / STD[channel], abs=1e-6)


def test_normalize_leaves_its_argument() -> None:
    images, _ = samples(1)
    before = images.copy()
    normalize(images)
    np.testing.assert_array_equal(images, before)


def test_splits_in_the_order_of_the_files(directory: Path) -> None:
    images, labels = read_split(directory, "train")
    assert images.shape == (3 + 4 + 5 + 6 + 7, 3, 32, 32)
    np.testing.assert_array_equal(labels[3:7], samples(4, 1)[1])
    np.testing.assert_array_equal(read_split(directory, "test")[1], samples(8, 5)[1])


def test_parent_of_the_archive_folder(directory: Path) -> None:
    inner = directory / "cifar-10-batches-bin"
    inner.mkdir()
    for name in (*TRAIN_FILES, *TEST_FILES):
        (directory / name).rename(inner / name)
    assert len(read_split(directory, "test")[1]) == 8


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'.*absent' does not exist"):
        read_split(tmp_path / "absent", "test")


def test_missing_files_are_named(directory: Path) -> None:
    (directory / "data_batch_2.bin").unlink()
    (directory / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"has no data_batch_2\.bin, data_batch_4\.bin"):
        read_split(directory, "train")


def test_python_version_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "test_batch").write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match="Python version"):
        read_split(tmp_path, "test")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'.*absent\.bin' cannot be read: No such file"):
        read_batch_file(tmp_path / "absent.bin")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.bin").touch()
    with pytest.raises(DataError, match=r"'.*empty\.bin' is empty"):
        read_batch_file(tmp_path / "empty.bin")


@pytest.mark.parametrize(("records", "excess"), [(0, 3072), (2, 1), (1, 3072)])
def test_truncated_file(tmp_path: Path, records: int, excess: int) -> None:
    path = tmp_path / "short.bin"
    path.write_bytes(bytes(records * RECORD_BYTES + excess))
    with pytest.raises(DataError) as caught:
        read_batch_file(path)
    assert f"is {records} whole records of 3073 bytes and {excess} bytes too many" in str(
        caught.value
    )
    assert "30730000 bytes" in caught.value.remedy


def test_label_out_of_range(tmp_path: Path) -> None:
    path = tmp_path / "wrong.bin"
    write_batch_file(path, *samples(5))
    raw = bytearray(path.read_bytes())
    raw[3 * RECORD_BYTES] = 10
    raw[4 * RECORD_BYTES] = 255
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"Record 3 of .* has the label 10.*2 of 5 records"):
        read_batch_file(path)


def test_write_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    images, labels = samples(2)
    path = tmp_path / "test_batch.bin"
    for wrong_images, wrong_labels in (
        (images.astype(np.float32), labels),
        (images.transpose(0, 2, 3, 1), labels),
        (images, labels[:1]),
        (images[:0], labels[:0]),
        (images, np.array([0, 10])),
        (images, np.array([-1, 0])),
    ):
        with pytest.raises(DataError, match="cannot hold"):
            write_batch_file(path, wrong_images, wrong_labels)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_dataset_gives_every_image_once(directory: Path) -> None:
    dataset = open_dataset(f"cifar10:{directory}", [INPUT])
    images, labels = read_split(directory, "test")
    assert len(dataset) == 8
    assert dataset.name == f"cifar10:{directory}"
    batches = [dataset.batch(start, min(start + 3, 8)) for start in range(0, 8, 3)]
    np.testing.assert_array_equal(
        np.concatenate([batch.inputs["input"] for batch in batches]), normalize(images)
    )
    read = [batch.labels for batch in batches]
    assert all(each is not None for each in read)
    np.testing.assert_array_equal(np.concatenate(read), labels)  # type: ignore[arg-type]


def test_dataset_limit_takes_the_first(directory: Path) -> None:
    dataset = open_dataset(f"cifar10:{directory}", [INPUT], limit=5)
    assert len(dataset) == 5
    whole = open_dataset(f"cifar10:{directory}", [INPUT], limit=100)
    assert len(whole) == 8
    np.testing.assert_array_equal(
        dataset.batch(0, 5).inputs["input"], whole.batch(0, 5).inputs["input"]
    )
    for start, stop in ((0, 6), (3, 3), (-1, 2)):
        with pytest.raises(IndexError):
            dataset.batch(start, stop)


def test_half_precision_input(directory: Path) -> None:
    spec = TensorSpec("input", (-1, 3, 32, 32), "float16")
    assert open_dataset(f"cifar10:{directory}", [spec]).batch(0, 2).inputs["input"].dtype == (
        np.float16
    )


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "has 0"),
        ([INPUT, TensorSpec("mask", (-1, 3, 32, 32))], r"has 2 \('input', 'mask'\)"),
        ([TensorSpec("pixels", (-1, 3, 224, 224))], r"input 'pixels' takes \(3, 224, 224\)"),
        ([TensorSpec("pixels", (-1, 32, 32, 3))], "input 'pixels' takes"),
        ([TensorSpec("pixels", (-1, 3072))], r"input 'pixels' takes \(3072,\)"),
        ([TensorSpec("pixels", (-1, 3, 32, 32), "uint8")], "input 'pixels' takes uint8"),
    ],
)
def test_dataset_checks_the_model(directory: Path, specs: list[TensorSpec], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(f"cifar10:{directory}", specs)


def test_open_dimensions_fit(directory: Path) -> None:
    assert len(open_dataset(f"cifar10:{directory}", [TensorSpec("x", (-1, 3, -1, -1))])) == 8


@pytest.mark.parametrize("spec", ["imagenet:dir", "cifar10", "cifar10:", "npz:", "file.py", ""])
def test_unknown_kind_names_the_kinds(spec: str) -> None:
    with pytest.raises(
        UsageError, match=r"cifar10:DIR, idx:DIR, npz:FILE, file\.py:factory, random"
    ):
        open_dataset(spec, [INPUT])


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one(limit: int) -> None:
    with pytest.raises(UsageError, match="leaves no sample"):
        open_dataset("random", [INPUT], limit=limit)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_the_files_of_a_data_set_are_known(inner: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / inner
    folder.mkdir(parents=True)
    assert files_of(f"cifar10:{tmp_path / 'data'}") == [folder / "test_batch.bin"]
    assert files_of("npz:a/b.npz") == [Path("a/b.npz")]
    assert files_of("data/my.py:factory") == [Path("data/my.py")]
    assert files_of("random") == files_of("random:8") == []
    with pytest.raises(DataError, match="does not exist"):
        files_of("cifar10:nowhere")
