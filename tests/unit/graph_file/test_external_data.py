"""Weights in other files: read, and checked before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.support.graphs import run
from tests.support.read_graphs import assert_refused, convolution, initializer, saved
from trtqat.graph_file.reading import read_model


def external(proto: onnx.ModelProto, folder: Path, **changes: str) -> Path:
    """Moves the weight of the convolution into ``w.bin``, 64 bytes from its start."""
    tensor = initializer(proto, "conv.weight")
    (folder / "w.bin").write_bytes(bytes(64) + tensor.raw_data)
    fields = {"location": "w.bin", "offset": "64", "length": "576", **changes}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=value)
    return saved(proto, folder)


def test_external_data_is_read(tmp_path: Path) -> None:
    proto = convolution().proto("y")
    weight = numpy_helper.to_array(initializer(proto, "conv.weight"))
    model = read_model(external(proto, tmp_path))
    value = model.graph.initializers["conv.weight"].const_value
    assert value is not None
    np.testing.assert_array_equal(value.numpy(), weight)
    assert run(model, np.ones((2, 4, 5, 5), np.float32))[0].shape == (2, 4, 5, 5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"location": "gone.bin"}, "'gone.bin', which cannot be read: No such file"),
        ({"location": ""}, "not a file beside the graph"),
        ({"location": "."}, "not a file beside the graph"),
        ({"location": "../secret"}, "not a file beside the graph"),
        ({"location": "/etc/passwd"}, "not a file beside the graph"),
        ({"location": "a\0b"}, "not a file beside the graph"),
        ({"location": "link"}, "not a file beside the graph"),
        ({"location": "pipe"}, "not a file that can be read"),
        ({"location": "n" * 5000}, "which cannot be read"),
        ({"offset": "65"}, "takes the bytes 65 to 641 of 'w.bin', which has 640"),
        ({"offset": "-1"}, "the offset '-1'"),
        ({"offset": "9" * 30}, "the offset '9+'"),
        ({"length": "575"}, "takes 576 bytes; 575 are declared"),
        ({"length": "x"}, "the length 'x'"),
    ],
)
def test_damaged_external_data(changes: dict[str, str], expected: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to("../secret")
    os.mkfifo(folder / "pipe")
    path = external(convolution().proto("y"), folder, **changes)
    assert_refused(path, expected)


def test_external_data_of_a_terabyte_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    proto = convolution().proto("y")
    path = external(proto, tmp_path, length=str(2**34 * 4 * 9 * 4))
    initializer(proto, "conv.weight").dims[0] = 2**34
    assert_refused(saved(proto, path.parent), "which has 640")
