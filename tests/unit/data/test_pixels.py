"""Data for inputs that take the bytes of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.idx_files import write_idx_split
from trtqat.data.cifar10 import normalize, write_batch_file
from trtqat.data.dataset import open_dataset
from trtqat.data.idx import scale
from trtqat.errors import DataError
from trtqat.pixels import Pixels, PixelSpec
from trtqat.tensors import TensorSpec

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def spec_of(layout: str, size: int = 6, channels: int = 3, *, bgr: bool = False) -> PixelSpec:
    mean, std = (MEAN, STD) if channels == 3 else ((0.0,), (1.0,))
    pixels = Pixels(layout, mean, std, bgr=bgr)  # type: ignore[arg-type]
    return pixels.of_floats(TensorSpec("x", (-1, channels, size, size)))


def images(count: int = 5, size: int = 6) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 3, size, size)).astype(np.uint8)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("saved", ["nhwc", "nchw"])
def test_npz_in_either_layout(saved: str, layout: str, tmp_path: Path) -> None:
    path, raw = tmp_path / "x.npz", images()
    given = raw if saved == "nchw" else raw.transpose(0, 2, 3, 1)
    np.savez(path, images=given, labels=np.arange(5))
    spec = spec_of(layout)
    batch = open_dataset(f"npz:{path}", [spec]).batch(1, 4)
    np.testing.assert_array_equal(batch.inputs["x"], spec.of_rgb(raw[1:4]))
    assert batch.labels is not None


def test_floats_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=images().astype(np.float32))
    with pytest.raises(DataError, match="which the graph normalises itself") as caught:
        open_dataset(f"npz:{path}", [spec_of("nhwc")])
    assert "uint8" in caught.value.remedy
    np.savez(path, images=images(size=7))
    with pytest.raises(DataError, match=r"takes the bytes of images \(6, 6, 3\)") as caught:
        open_dataset(f"npz:{path}", [spec_of("nhwc")])
    assert "(3, 6, 6)" in caught.value.remedy


def test_integers_that_are_no_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=images().astype(np.int64) + 1)
    with pytest.raises(DataError, match="do not fit the uint8"):
        open_dataset(f"npz:{path}", [spec_of("nhwc")])
    np.savez(path, images=images().astype(np.int64))
    batch = open_dataset(f"npz:{path}", [spec_of("nchw")]).batch(0, 5)
    np.testing.assert_array_equal(batch.inputs["x"], images())


def test_a_factory_gives_them_too(tmp_path: Path) -> None:
    source = tmp_path / "given.py"
    source.write_text(
        "import numpy as np\n"
        "def data():\n"
        "    return [(np.full((6, 6, 3), n, np.uint8), n) for n in range(4)]\n"
        "def floats():\n"
        "    return [(np.full((6, 6, 3), n, np.float32), n) for n in range(4)]\n"
    )
    batch = open_dataset(f"{source}:data", [spec_of("nchw")]).batch(1, 3)
    assert batch.inputs["x"].shape == (2, 3, 6, 6)
    assert batch.inputs["x"].dtype == np.uint8
    with pytest.raises(DataError, match="which the graph normalises itself"):
        open_dataset(f"{source}:floats", [spec_of("nchw")])


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_cifar10_gives_its_bytes(layout: str, bgr: bool, tmp_path: Path) -> None:
    raw = images(size=32)
    write_batch_file(tmp_path / "test_batch.bin", raw, np.arange(5))
    spec = spec_of(layout, 32, bgr=bgr)
    batch = open_dataset(f"cifar10:{tmp_path}", [spec]).batch(0, 5)
    assert batch.inputs["x"].shape[1:] == spec.shape[1:]
    # The graph makes of them what this data gives a model of floats.
    np.testing.assert_array_equal(spec.pixels.normalise(batch.inputs["x"]), normalize(raw))


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_idx_gives_its_bytes(layout: str, tmp_path: Path) -> None:
    raw, _ = write_idx_split(tmp_path, "test", 5)
    spec = spec_of(layout, 28, channels=1)
    batch = open_dataset(f"idx:{tmp_path}", [spec]).batch(0, 5)
    np.testing.assert_array_equal(spec.pixels.normalise(batch.inputs["x"])[:, 0], scale(raw))
    with pytest.raises(DataError, match="takes the bytes of images"):
        open_dataset(f"idx:{tmp_path}", [spec_of(layout, 28)])


def test_random_data_are_bytes() -> None:
    dataset = open_dataset("random:40", [spec_of("nhwc", 16)])
    x = dataset.batch(0, 40).inputs["x"]
    assert x.dtype == np.uint8
    assert x.shape == (40, 16, 16, 3)
    assert (x.min(), x.max()) == (0, 255)
    np.testing.assert_array_equal(dataset.batch(7, 9).inputs["x"], x[7:9])
