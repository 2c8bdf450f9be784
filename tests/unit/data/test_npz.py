from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtqat.data.dataset import open_dataset
from trtqat.errors import DataError
from trtqat.tensors import TensorSpec

INPUT = TensorSpec("x", (-1, 4))
IDS = TensorSpec("ids", (-1, 2), "int32")


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_arrays_by_name(tmp_path: Path) -> None:
    x, ids = np.arange(12.0).reshape(3, 4), np.array([[1, 2], [3, 4], [5, 6]])
    spec = save(tmp_path / "d.npz", ids=ids, x=x, labels=np.array([2, 0, 1], np.uint8), other=1)
    dataset = open_dataset(spec, [INPUT, IDS])
    assert len(dataset) == 3
    assert dataset.name == spec
    batch = dataset.batch(1, 3)
    np.testing.assert_array_equal(batch.inputs["x"], x[1:])
    np.testing.assert_array_equal(batch.inputs["ids"], ids[1:])
    assert batch.inputs["x"].dtype == np.float32
    assert batch.inputs["ids"].dtype == np.int32
    assert isinstance(batch.labels, np.ndarray)
    assert batch.labels.tolist() == [0, 1]
    assert batch.labels.dtype == np.int64
    assert len(batch) == 2


def test_images_stand_for_the_only_input(tmp_path: Path) -> None:
    spec = save(tmp_path / "d.npz", images=np.ones((3, 4), np.float32))
    batch = open_dataset(spec, [INPUT]).batch(0, 3)
    assert list(batch.inputs) == ["x"]
    assert batch.labels is None
    with pytest.raises(DataError, match=r"no array for input 'x'; it holds 'images'"):
        open_dataset(spec, [INPUT, IDS])


def test_an_input_called_labels_is_no_label(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = TensorSpec("labels", (-1,), "int64")
    x, classes = np.ones((3, 4), np.float32), np.array([2, 0, 1])
    batch = open_dataset(save(tmp_path / "d.npz", x=x, labels=classes), [INPUT, given]).batch(0, 3)
    np.testing.assert_array_equal(batch.inputs["labels"], classes)
    assert batch.labels is None
    assert "'labels' is an input of the model, and no label; a function for" in caplog.text
    caplog.clear()
    # Those of another name are labels as ever.
    boxes = {"labels_boxes": np.ones((3, 4)), "labels_classes": classes}
    spec = save(tmp_path / "d.npz", x=x, labels=classes, labels_counts=np.ones(3, int), **boxes)
    assert open_dataset(spec, [INPUT, given]).batch(1, 3).labels is not None
    spec = save(tmp_path / "d.npz", images=x, labels=classes)
    assert open_dataset(spec, [TensorSpec("labels", (-1,), "int64")]).batch(0, 3).labels is None


def test_missing_array_lists_what_is_there(tmp_path: Path) -> None:
    spec = save(tmp_path / "d.npz", pixels=np.ones((3, 4)), labels=np.zeros(3, int))
    with pytest.raises(DataError, match=r"input 'x'; it holds 'pixels', 'labels'"):
        open_dataset(spec, [INPUT])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((3, 5))}, r"shape \(5,\), but input 'x' takes \(4,\)"),
        ({"x": np.ones(3)}, r"shape \(\), but input 'x' takes \(4,\)"),
        ({"x": np.ones((3, 4), np.uint8)}, "holds uint8, but input 'x' takes float32"),
        ({"x": np.ones((3, 4), bool)}, "holds bool, but"),
        ({"x": np.ones((3, 4), complex)}, "holds complex128, but"),
        ({"x": np.float32(1)}, "single number"),
        ({"x": np.ones((0, 4))}, "no sample"),
        ({"x": np.ones((3, 4)), "labels": np.zeros(2, int)}, "labels of .* are 2, but .* 3"),
        ({"x": np.ones((3, 4)), "labels": np.zeros((2, 10), int)}, "labels of .* are 2, but .* 3"),
        ({"x": np.ones((3, 4)), "labels": np.zeros(3, complex)}, "complex128"),
        ({"x": np.ones((3, 4)), "labels": np.array([0, -1, 0])}, "hold -1 at sample 1"),
        ({"x": np.array([{}, []], dtype=object)}, "not an .npz file of plain arrays"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(save(tmp_path / "d.npz", **arrays), [INPUT])


def test_different_lengths(tmp_path: Path) -> None:
    spec = save(tmp_path / "d.npz", x=np.ones((3, 4)), ids=np.ones((2, 2), int))
    with pytest.raises(DataError, match=r"different numbers of samples: 'x' 3, 'ids' 2"):
        open_dataset(spec, [INPUT, IDS])


def test_integers_that_do_not_fit(tmp_path: Path) -> None:
    spec = save(tmp_path / "d.npz", ids=np.array([[0, 2**31]]))
    with pytest.raises(DataError, match="integers from 0 to 2147483648"):
        open_dataset(spec, [IDS])


def test_wrong_files(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            open_dataset(f"npz:{path}", [INPUT])
        return str(caught.value)

    assert "No such file" in message(tmp_path / "absent.npz")
    np.save(tmp_path / "one.npy", np.ones((3, 4)))
    assert "one array without a name" in message(tmp_path / "one.npy")
    (tmp_path / "empty.npz").touch()
    assert "not an .npz file" in message(tmp_path / "empty.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    assert "not an .npz file" in message(tmp_path / "text.npz")
    np.savez(tmp_path / "whole.npz", x=np.ones((300, 4)))
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-40])
    assert "not an .npz file" in message(tmp_path / "cut.npz")
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.npz").write_bytes(damaged)
    assert "not an .npz file" in message(tmp_path / "damaged.npz")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    assert "no array for input 'x'" in message(tmp_path / "other.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_named(tmp_path: Path, value: float) -> None:
    x = np.ones((3, 4), np.float32)
    x[1, 2] = value
    with pytest.raises(DataError, match=rf"'x' of .*d.npz' holds {value} in sample 1 for input"):
        open_dataset(save(tmp_path / "d.npz", x=x), [INPUT])


def test_what_is_infinite_as_the_model_takes_it_is_named(tmp_path: Path) -> None:
    spec = save(tmp_path / "d.npz", x=np.array([[1.0] * 4, [1e300] * 4]))
    with pytest.raises(DataError, match=r"1e\+300, which is infinite as float32, in sample 1"):
        open_dataset(spec, [INPUT])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 2**63, 1], np.uint64), "9223372036854775808 at sample 1"),
        (np.array([0, 1, np.nan]), "nan at sample 2"),
    ],
)
def test_labels_of_no_class(tmp_path: Path, labels: Any, message: str) -> None:
    spec = save(tmp_path / "d.npz", x=np.ones((3, 4)), labels=labels)
    with pytest.raises(DataError, match=message):
        open_dataset(spec, [INPUT])


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((2**20, 2**20)), "declares 4398046511104 bytes"),
        (header((2**40, 2**40)) + b"1234", "and has 4"),
        (header((3, 4)) + bytes(47), "declares 48 bytes as float32 .3, 4., and has 47"),
        (header((3, 4)) + bytes(49), "and has 49"),
        (header((-3, -4)) + bytes(48), "declares 48 bytes"),
        (header((3, 4), "|O") + bytes(96), "holds objects"),
        (b"\x93NUMPY\x03\x00", "3.0"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "EOF|header"),
        (b"", "EOF|magic"),
    ],
)
def test_what_an_array_declares_is_what_is_stored(
    tmp_path: Path, content: bytes, message: str, method: int
) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w", method) as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(DataError, match=message):
        open_dataset(f"npz:{tmp_path / 'd.npz'}", [INPUT])


def test_a_name_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", header((1, 4)) + bytes(16))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.npy", header((1, 4)) + bytes(16))
    with pytest.raises(DataError, match="holds 'x' twice"):
        open_dataset(f"npz:{tmp_path / 'd.npz'}", [INPUT])


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_a_changed_byte_is_a_sentence(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "d.npz"
    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    write(path, x=x, labels=np.arange(12))
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            dataset = open_dataset(f"npz:{path}", [INPUT])
        except DataError:
            refused += 1
        else:
            # A byte of a date, or one that only names what is not read.
            np.testing.assert_array_equal(dataset.batch(0, 12).inputs["x"], x)
    assert refused > len(whole) / 2


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file"):
        open_dataset(f"npz:{tmp_path}", [INPUT])
