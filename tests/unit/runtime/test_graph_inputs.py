"""What a graph gets of a query that was made for another model."""

from __future__ import annotations

import re

import numpy as np
import pytest

from trtqat.errors import DataError, GraphError
from trtqat.pixels import Layout, Pixels, PixelSpec
from trtqat.runtime.graph_inputs import feed, make_feeders
from trtqat.tensors import Array, TensorSpec

FLOATS = TensorSpec("x", (-1, 3, 4, 5))


def fed(own: TensorSpec, given: TensorSpec, array: Array) -> Array:
    feeders = make_feeders([own], [given], graph="float.onnx", other="m.engine")
    return feed({"x": array}, feeders)["x"]


def of_pixels(layout: Layout, *, bgr: bool = False) -> PixelSpec:
    return Pixels(layout, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), bgr=bgr).of_floats(FLOATS)


def photographs(layout: Layout) -> Array:
    shape = (2, 4, 5, 3) if layout == "nhwc" else (2, 3, 4, 5)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_bytes_become_the_floats_that_they_mean(layout: Layout, bgr: bool, dtype: str) -> None:
    given, images = of_pixels(layout, bgr=bgr), photographs(layout)
    found = fed(TensorSpec("x", (-1, 3, -1, -1), dtype), given, images)
    planes = images.transpose(0, 3, 1, 2) if layout == "nhwc" else images
    planes = planes[:, ::-1] if bgr else planes
    means, stds = (
        np.array(each, np.float32)[:, None, None] for each in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    )
    wanted = (planes.astype(np.float32) / np.float32(255) - means) / stds
    assert found.dtype == dtype
    assert np.array_equal(found, wanted.astype(dtype))


@pytest.mark.parametrize("own_bgr", [False, True])
@pytest.mark.parametrize("given_bgr", [False, True])
@pytest.mark.parametrize("own_layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("given_layout", ["nhwc", "nchw"])
def test_a_graph_of_bytes_gets_the_same_picture(
    own_layout: Layout, given_layout: Layout, own_bgr: bool, given_bgr: bool
) -> None:
    own, given = of_pixels(own_layout, bgr=own_bgr), of_pixels(given_layout, bgr=given_bgr)
    images = photographs(given_layout)
    found = fed(own, given, images)
    assert found.dtype == np.uint8
    # What each of the two graphs computes of its bytes.
    assert np.array_equal(own.pixels.normalise(found), given.pixels.normalise(images))


def test_numbers_get_the_width_of_the_graph() -> None:
    halves = np.array([[1.5, 65504.0]], np.float16)
    assert (
        fed(TensorSpec("x", (-1, 2)), TensorSpec("x", (-1, 2), "float16"), halves).dtype
        == np.float32
    )
    narrow = TensorSpec("x", (-1, 2), "float16")
    floats = np.array([[1.5, np.inf]], np.float32)
    assert np.array_equal(fed(narrow, TensorSpec("x", (-1, 2)), floats), floats.astype(np.float16))
    with pytest.raises(DataError, match=r"holds 70000.0 for the input 'x', .* fit the float16"):
        fed(narrow, TensorSpec("x", (-1, 2)), np.array([[1, 7e4]], np.float32))
    # TensorRT 8.6 takes indices as INT32, whatever the graph says.
    tokens = np.array([[3, 2**31 - 1]], np.int32)
    wide, small = (TensorSpec("x", (-1, 2), each) for each in ("int64", "int32"))
    assert fed(wide, small, tokens).dtype == np.int64
    assert np.array_equal(fed(small, wide, tokens.astype(np.int64)), tokens)
    with pytest.raises(DataError, match=r"holds 2147483648 for the input 'x'"):
        fed(small, wide, np.array([[0, 2**31]]))
    same = np.ones((1, 2), np.float32)
    assert fed(TensorSpec("x", (-1, 2)), TensorSpec("x", (-1, 2)), same) is same


@pytest.mark.parametrize(
    ("own", "given", "says"),
    [
        (FLOATS, TensorSpec("y", FLOATS.shape), "an input 'x', and 'm.engine' has none of this"),
        (FLOATS, TensorSpec("x", (-1, 3, 4, 6)), "x:?x3x4x5:float32, and 'm.engine' x:?x3x4x6:"),
        (FLOATS, TensorSpec("x", (-1, 60)), "and 'm.engine' x:?x60:float32"),
        (FLOATS, TensorSpec("x", FLOATS.shape, "uint8"), "takes float32 for the input 'x', and"),
        (of_pixels("nchw"), FLOATS, "takes uint8 for the input 'x', and 'm.engine' float32"),
        (TensorSpec("x", (-1, 3, 9, 9)), of_pixels("nhwc"), "and 'm.engine' x:?x3x4x5:float32"),
    ],
)
def test_what_does_not_fit_is_named(own: TensorSpec, given: TensorSpec, says: str) -> None:
    with pytest.raises(GraphError, match=re.escape(says)):
        make_feeders([own], [given], graph="float.onnx", other="m.engine")


def test_every_input_of_both_must_be_there() -> None:
    pair = [FLOATS, TensorSpec("mask", (-1, 2), "bool")]
    for own, given, lacking in ((pair, [FLOATS], "m.engine"), ([FLOATS], pair, "float.onnx")):
        with pytest.raises(GraphError, match=rf"an input 'mask', and '{lacking}' has none"):
            make_feeders(own, given, graph="float.onnx", other="m.engine")
    assert list(make_feeders(pair, pair[::-1], graph="g", other="m")) == ["x", "mask"]
