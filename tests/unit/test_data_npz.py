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
    assert batch.labels is not None
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
        ({"x": np.ones((3, 4)), "labels": np.zeros((3, 10), int)}, r"shape \(3, 10\)"),
        ({"x": np.ones((3, 4)), "labels": np.zeros(3)}, "one integer per sample"),
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
