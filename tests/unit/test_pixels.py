"""Bytes of images: what they mean, and how the host normalises them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.data import cifar10
from trtqat.errors import UsageError
from trtqat.pixels import Pixels, PixelSpec, parse_pixels, pixels_of, with_pixels
from trtqat.tensors import TensorSpec, random_arrays

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOATS = TensorSpec("images", (-1, 3, 4, 5))


def rgb(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)


def test_the_host_normalises_as_users_do() -> None:
    """Beside what this package does by itself for CIFAR-10, bit for bit."""
    pixels = Pixels("nchw", cifar10.MEAN, cifar10.STD)
    np.testing.assert_array_equal(pixels.normalise(rgb()), cifar10.normalize(rgb()))


@pytest.mark.parametrize("bgr", [False, True])
def test_layout_and_order_change_nothing_else(bgr: bool) -> None:
    expected = Pixels("nchw", MEAN, STD).normalise(rgb())
    for layout in ("nchw", "nhwc"):
        pixels = Pixels(layout, MEAN, STD, bgr=bgr)
        spec = pixels.of_floats(TensorSpec("x", (-1, 3, 32, 32)))
        given_bytes = spec.of_rgb(rgb())
        assert given_bytes.shape[1:] == spec.shape[1:]
        np.testing.assert_array_equal(pixels.normalise(given_bytes), expected)


@given(
    st.lists(st.floats(-300, 300), min_size=1, max_size=4),
    st.lists(st.floats(0.01, 300), min_size=1, max_size=1),
    st.floats(0.1, 300),
)
def test_a_table_is_what_bytes_become(mean: list[float], std: list[float], scale: float) -> None:
    pixels = Pixels("nchw", tuple(mean), tuple(std), scale)
    channels = max(len(mean), 2)
    if not pixels.fits(channels):
        assert len(mean) == 1 or len(mean) != channels
        return
    table = pixels.table(channels)
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(channels, axis=1)
    np.testing.assert_array_equal(pixels.normalise(images).reshape(channels, 256), table)


def test_specs() -> None:
    spec = Pixels("nhwc", MEAN, STD).of_floats(FLOATS)
    assert (spec.shape, spec.dtype, spec.channels) == ((-1, 4, 5, 3), "uint8", 3)
    assert spec.floats == FLOATS
    assert spec.other_layout == (-1, 3, 4, 5)
    batch = spec.with_batch(2)
    assert isinstance(batch, PixelSpec)
    assert batch.shape == (2, 4, 5, 3)
    assert pixels_of([batch, FLOATS]) == {"images": spec.pixels}
    (images,) = random_arrays([batch.with_batch(40)], seed=0).values()
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)


def test_arrays_of_the_other_layout_are_transposed() -> None:
    images = rgb()
    for layout in ("nchw", "nhwc"):
        spec = Pixels(layout, MEAN, STD).of_floats(TensorSpec("x", (-1, 3, 32, 32)))
        for given_images in (images, images.transpose(0, 2, 3, 1)):
            found = spec.in_layout(given_images)
            assert found.flags.c_contiguous
            np.testing.assert_array_equal(found, spec.of_rgb(images))


def test_parse() -> None:
    found = parse_pixels(["a:nhwc", "b:nchw"], ["0.5", "1,2,3"], [0.25], scale=1, bgr=True)
    assert found == {
        "a": Pixels("nhwc", (0.5,), (0.25,), 1.0, True),
        "b": Pixels("nchw", (1.0, 2.0, 3.0), (0.25,), 1.0, True),
    }
    found = parse_pixels(["a:nhwc", "b:nchw"], ["0.5"], [0.25], scale=[1, 255])
    assert [each.scale for each in found.values()] == [1, 255]
    assert parse_pixels([], [], []) == {}
    # A name of PyTorch's may hold a colon; the layout is behind the last one.
    assert list(parse_pixels(["a:0:NHWC"], ["0"], ["1"])) == ["a:0"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_pixels(["x"], ["0"], ["1"]), "'x' does not say which input"),
        (lambda: parse_pixels(["x:hwc"], ["0"], ["1"]), "'x:hwc' does not say"),
        (lambda: parse_pixels([":nhwc"], ["0"], ["1"]), "':nhwc' does not say"),
        (lambda: parse_pixels(["x:nhwc", "x:nchw"], ["0"], ["1"]), "'x' is given twice"),
        (lambda: parse_pixels(["x:nhwc"], [], ["1"]), "--mean is missing for 1 input of"),
        (lambda: parse_pixels(["x:nhwc"], ["0"], ["1", "2"]), "There are 2 times --std"),
        (lambda: parse_pixels(["x:nhwc"], ["a,b"], ["1"]), "'a,b' of --mean are no numbers"),
        (lambda: parse_pixels([], ["0"], []), "--mean is of an input that takes bytes"),
        (lambda: parse_pixels([], [], [], bgr=True), "--bgr is of an input"),
        (lambda: parse_pixels([], [], [], scale=1), "--scale is of an input"),
        (lambda: parse_pixels(["x:nhwc"], [0], [1], scale=[1, 255]), "There are 2 times --scale"),
        (lambda: Pixels("nhwc", (0,), (0.0,)), "The std of the pixels is 0"),
        (lambda: Pixels("nhwc", (0,), (1e-60,)), "The std of the pixels is 1e-60"),
        (lambda: Pixels("nhwc", (0,), (1e-40,)), "a byte becomes infinite"),
        (lambda: Pixels("nhwc", (float("nan"),), (1,)), "The mean of the pixels is nan"),
        (lambda: Pixels("nhwc", (0,), (1,), scale=-1), "The scale of the pixels is -1"),
        (lambda: Pixels("nhwc", (), (1,)), "The mean has no number"),
        (lambda: Pixels("nhwc", (1, 2), (1, 2, 3)), "The mean has 2 numbers, and the std 3"),
        (lambda: Pixels("nhwc", (1, 2), (1,), bgr=True), "BGR bytes have three channels"),
        (lambda: Pixels("nhwc", (1, 2, 3, 4), (1,), bgr=True), "Leave out --bgr for an image of"),
        (lambda: Pixels("hwcn", (0,), (1,)), "Pixels.layout is 'hwcn'"),  # type: ignore[arg-type]
        (lambda: Pixels("nhwc", "0", (1,)), "Pixels.mean is '0'"),  # type: ignore[arg-type]
    ],
)
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert caught.value.remedy


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("images", (-1, 4, 5, 3), "float32"),
        TensorSpec("images", (-1, 4, 5), "uint8"),
        TensorSpec("images", (-1, 4, 5, 4), "uint8"),
        TensorSpec("others", (-1, 4, 5, 3), "uint8"),
    ],
    ids=str,
)
def test_a_record_that_does_not_fit_is_passed_over(spec: TensorSpec) -> None:
    recorded = {"images": Pixels("nhwc", MEAN, STD)}
    assert list(with_pixels([spec], recorded)) == [spec]
    assert list(with_pixels([spec], None)) == [spec]
