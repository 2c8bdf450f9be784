from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support.hanging import HUNG_S
from tests.support.image_files import drawn, write_classes, write_image
from trtqat.data.dataset import files_of, open_dataset
from trtqat.data.images.ahead import Ahead
from trtqat.data.images.dataset import Images
from trtqat.data.shapes import specs_from_data
from trtqat.errors import DataError, MissingError, UsageError
from trtqat.tensors import TensorSpec

FLOATS = TensorSpec("x", (-1, 3, 24, 32))
BYTES = TensorSpec("x", (-1, 3, 24, 32), "uint8")


def only(folder: Path, spec: TensorSpec, options: str = "") -> Any:
    """The input made of a folder's first image."""
    return open_dataset(f"images:{folder}{options}", [spec]).batch(0, 1).inputs["x"][0]


def classes_of(batch: Any) -> list[int]:
    labels: list[int] = batch.labels.tolist()
    return labels


def test_batches_with_classes(tmp_path: Path) -> None:
    labels = write_classes(tmp_path)
    dataset = open_dataset(f"images:{tmp_path}", [FLOATS])
    assert isinstance(dataset, Images)
    assert (len(dataset), dataset.name) == (8, f"images:{tmp_path}")
    assert dataset.classes == ("ants", "bees")
    for _ in range(2):
        batches = [dataset.batch(start, min(start + 3, 8)) for start in range(0, 8, 3)]
        found = np.concatenate([batch.inputs["x"] for batch in batches])
        assert found.dtype == np.float32
        pixels = np.stack([drawn(index) for index in range(8)]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(found, pixels.astype(np.float32) / np.float32(255))
        assert [label for batch in batches for label in classes_of(batch)] == labels


@pytest.mark.parametrize(
    ("shape", "axes"), [((-1, 3, 24, 32), (2, 0, 1)), ((-1, 24, 32, 3), (0, 1, 2))]
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
@pytest.mark.parametrize("bgr", [False, True])
def test_layout_and_dtype_are_the_inputs(
    tmp_path: Path, shape: tuple[int, ...], axes: tuple[int, ...], dtype: str, bgr: bool
) -> None:
    write_image(tmp_path / "one.png", drawn(0))
    found = only(tmp_path, TensorSpec("x", shape, dtype), ",bgr" if bgr else "")
    assert found.dtype == dtype
    assert found.shape == shape[1:]
    pixels = drawn(0)[..., ::-1] if bgr else drawn(0)
    wanted: Any = pixels.transpose(axes)
    if dtype != "uint8":
        wanted = (wanted / np.float32(255)).astype(dtype)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("shape", [(-1, 1, 24, 32), (-1, 24, 32, 1), (-1, 24, 32)])
def test_grey_for_one_channel(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_image(tmp_path / "one.png", drawn(0))
    found = only(tmp_path, TensorSpec("x", shape, "uint8"))
    assert found.shape == shape[1:]
    grey = np.asarray(Image.fromarray(drawn(0)).convert("L"))
    np.testing.assert_array_equal(found.reshape(24, 32), grey)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_whatever_is_stored_becomes_colours(tmp_path: Path, mode: str) -> None:
    name = "one.tif" if mode == "CMYK" else "one.png"
    path = write_image(tmp_path / name, drawn(0), mode=mode)
    found = only(tmp_path, TensorSpec("x", (-1, 24, 32, 3), "uint8"))
    np.testing.assert_array_equal(found, np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(tmp_path: Path, orientation: int) -> None:
    path = write_image(tmp_path / "one.png", drawn(0), orientation=orientation)
    spec = TensorSpec("x", (-1, -1, -1, 3), "uint8")
    turned = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(only(tmp_path, spec), turned)
    np.testing.assert_array_equal(only(tmp_path, spec, ",as-stored"), drawn(0))
    (found,) = specs_from_data(f"images:{tmp_path}", {"x": True})
    assert found.shape == (-1, 3, *turned.shape[:2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(tmp_path: Path, orientation: int) -> None:
    """Pillow turns it as it loads it, for torchvision's ImageFolder as well."""
    path = write_image(tmp_path / "one.tif", drawn(0), orientation=orientation)
    turned = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    spec = TensorSpec("x", (-1, -1, -1, 3), "uint8")
    np.testing.assert_array_equal(only(tmp_path, spec), turned)
    np.testing.assert_array_equal(only(tmp_path, spec, ",as-stored"), turned)
    (found,) = specs_from_data(f"images:{tmp_path}", {"x": True})
    assert found.shape == (-1, 3, *turned.shape[:2])


def test_shapes_from_the_data(tmp_path: Path) -> None:
    write_classes(tmp_path)
    spec = f"images:{tmp_path},resize=20,crop=16x12"
    assert specs_from_data(spec, {"image": True, "scale": False}) == [
        TensorSpec("image", (-1, 3, 16, 12))
    ]


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (TensorSpec("x", (-1, 10)), "", "are images, but the model takes x"),
        (TensorSpec("x", (-1, 4, 24, 32)), "", "are images, but"),
        (TensorSpec("x", (-1, 3, 24, 32), "int64"), "", "are images, but"),
        (BYTES, ",mean=0.5", "takes the pixels themselves, as uint8"),
        (BYTES, ",scale=1", "takes the pixels themselves, as uint8"),
        (TensorSpec("x", (-1, 1, 24, 32)), ",bgr", "takes one"),
        (TensorSpec("x", (-1, 1, 24, 32)), ",mean=1,2,3", "takes one"),
        (TensorSpec("x", (-1, 3, 24, 32), "float16"), ",scale=1e-6", "infinite as float16"),
        (TensorSpec("x", (-1, 3, 24, 24)), "", r"000.png' makes an input of 24x32 .* takes x"),
        (FLOATS, ",resize=12", "makes an input of 12x16"),
    ],
)
def test_what_does_not_fit_the_input(
    tmp_path: Path, spec: TensorSpec, options: str, message: str
) -> None:
    write_classes(tmp_path)
    with pytest.raises(DataError, match=message) as raised:
        open_dataset(f"images:{tmp_path}{options}", [spec])
    assert raised.value.remedy


def test_several_inputs_and_no_input(tmp_path: Path) -> None:
    write_classes(tmp_path)
    with pytest.raises(DataError, match="feeds one input"):
        open_dataset(f"images:{tmp_path}", [FLOATS, TensorSpec("y", (-1, 2))])


def test_images_of_several_sizes_make_no_batch(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", drawn(0))
    write_image(tmp_path / "b.png", drawn(1, 24, 30))
    dataset = open_dataset(f"images:{tmp_path}", [TensorSpec("x", (-1, 3, -1, -1))])
    dataset.batch(1, 2)
    with pytest.raises(DataError, match=r"b\.png' makes an input of 24x30"):
        dataset.batch(0, 2)


def broken(folder: Path) -> None:
    """Two classes, with four files that are no whole images."""
    write_classes(folder)
    whole = (folder / "ants" / "002.png").read_bytes()
    (folder / "ants" / "002.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bees" / "000.png").write_bytes(b"no image")
    (folder / "bees" / "001.png").write_bytes(whole[:60] + bytes(20) + whole[80:])
    deep = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    Image.fromarray(deep).save(folder / "bees" / "003.png")


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    broken(tmp_path)
    dataset = open_dataset(f"images:{tmp_path}", [FLOATS])
    dataset.batch(0, 2)
    for index, message in (
        (2, r"ants.002\.png' cannot be decoded: .*truncated"),
        (4, r"bees.000\.png' cannot be decoded: it is no image"),
        (5, r"bees.001\.png' cannot be decoded"),
        (7, r"bees.003\.png' cannot be decoded: it has more than 8 bits"),
    ):
        with pytest.raises(DataError, match=message) as raised:
            dataset.batch(index, index + 1)
        assert "skip-broken" in raised.value.remedy
        assert ("Save it with 8 bits" in raised.value.remedy) == ("8 bits" in message)
    (tmp_path / "ants" / "001.png").unlink()
    with pytest.raises(DataError, match=r"001\.png' cannot be decoded: No such file"):
        dataset.batch(1, 2)


def test_broken_images_are_left_out_named_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken(tmp_path)
    seen: list[tuple[int, int]] = []
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset(
            f"images:{tmp_path},skip-broken",
            [FLOATS],
            progress=lambda done, total: seen.append((done, total)),
        )
    assert seen == [(number, 8) for number in range(1, 9)]
    assert dataset.name == f"images:{tmp_path},skip-broken (4 broken left out)"
    assert "4 of 8 images are broken and left out" in caplog.text
    assert "002.png' (" in caplog.text
    batch = dataset.batch(0, len(dataset))
    assert classes_of(batch) == [0, 0, 0, 1]
    np.testing.assert_array_equal(batch.inputs["x"][3] * 255, drawn(6).transpose(2, 0, 1))


def test_the_shape_is_that_of_the_first_whole_image(tmp_path: Path) -> None:
    write_classes(tmp_path)
    shape = specs_from_data(f"images:{tmp_path}", {"x": True})
    (tmp_path / "ants" / "000.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be decoded") as raised:
        specs_from_data(f"images:{tmp_path}", {"x": True})
    assert "skip-broken" in raised.value.remedy
    assert specs_from_data(f"images:{tmp_path},skip-broken", {"x": True}) == shape
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="has no image that can be decoded"):
        specs_from_data(f"images:{tmp_path},skip-broken", {"x": True})


def test_a_limit_is_of_whole_images(tmp_path: Path) -> None:
    broken(tmp_path)
    seen: list[int] = []
    dataset = open_dataset(
        f"images:{tmp_path},skip-broken",
        [FLOATS],
        limit=3,
        progress=lambda done, _: seen.append(done),
    )
    assert len(dataset) == 3
    # No more are looked at than that takes.
    assert seen == [1, 2, 3, 4]
    assert dataset.name.endswith("(1 broken left out)")


def test_nothing_but_broken_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="no image that can be decoded"):
        open_dataset(f"images:{tmp_path},skip-broken", [FLOATS])


@pytest.mark.parametrize("spec", [FLOATS, BYTES], ids=["floats", "bytes"])
def test_reading_into_arrays_that_are_there(tmp_path: Path, spec: TensorSpec) -> None:
    labels = write_classes(tmp_path)
    dataset = open_dataset(f"images:{tmp_path}", [spec])
    assert isinstance(dataset, Images)
    array = np.full((4, 3, 24, 32), 99, spec.dtype)
    batch = dataset.read_into(2, 5, {"x": array})
    assert np.shares_memory(batch.inputs["x"], array)
    np.testing.assert_array_equal(array[:3], dataset.batch(2, 5).inputs["x"])
    assert (array[3] == 99).all()
    assert classes_of(batch) == labels[2:5]
    with pytest.raises(DataError, match="is to be filled"):
        dataset.read_into(0, 2, {"x": np.empty((2, 3, 24, 24), spec.dtype)})


def test_images_of_several_sizes_where_the_input_leaves_them_open(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", drawn(0, 24, 32))
    write_image(tmp_path / "b.png", drawn(1, 20, 30))
    dataset = open_dataset(f"images:{tmp_path}", [TensorSpec("x", (-1, 3, -1, -1), "float32")])
    message = "b.png' makes an input of 20x30 .* the first one of its batch makes 24x32"
    with pytest.raises(DataError, match=message) as raised:
        dataset.batch(0, 2)
    assert "resize=" in raised.value.remedy
    assert dataset.batch(1, 2).inputs["x"].shape == (1, 3, 20, 30)


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(tmp_path)
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingError, match=r"Reading images needs PIL\.Image") as raised:
        open_dataset(f"images:{tmp_path}", [FLOATS])
    assert ".[images]" in raised.value.remedy


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    write_classes(tmp_path, 2)
    names = [each.name for each in files_of(f"images:{tmp_path},crop=8")]
    assert names == ["000.png", "001.png"] * 2
    with pytest.raises(UsageError, match="no option"):
        files_of(f"images:{tmp_path},crap=8")


def test_what_comes_next_is_made_beforehand() -> None:
    begun = threading.Semaphore(0)
    calls: list[int] = []

    def work(index: int) -> int:
        calls.append(index)
        begun.release()
        return index * 10

    ahead = Ahead(work, 10)
    assert list(ahead.results(0, 2)) == [0, 10]
    assert list(ahead.results(2, 4)) == [20, 30]
    # Two batches more, without anybody asking for them.
    for _ in range(8):
        assert begun.acquire(timeout=HUNG_S)
    assert sorted(calls) == list(range(8))
    assert list(ahead.results(4, 6)) == [40, 50]
    for _ in range(2):
        assert begun.acquire(timeout=HUNG_S)
    assert sorted(calls) == list(range(10))
    # Here and there nothing is made in vain.
    assert list(ahead.results(9, 10)) == [90]
    assert list(ahead.results(1, 3)) == [10, 20]
    assert len(calls) == 12


def test_an_error_comes_where_its_sample_is_asked_for() -> None:
    def work(index: int) -> int:
        if index == 3:
            raise DataError("Sample 3 is broken.")
        return index

    ahead = Ahead(work, 6)
    assert list(ahead.results(0, 1)) == [0]
    assert list(ahead.results(1, 3)) == [1, 2]
    results = ahead.results(2, 5)
    assert next(results) == 2
    with pytest.raises(DataError, match="Sample 3"):
        next(results)
    assert list(ahead.results(4, 6)) == [4, 5]
