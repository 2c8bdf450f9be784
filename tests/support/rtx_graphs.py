"""Small quantized graphs in files, for TensorRT for RTX to build."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.support.graphs import Graph
from trtqat.errors import MissingError
from trtqat.host.tensorrt_library import load_rtx


def rtx_or_skip() -> None:
    """Skips the test where TensorRT for RTX is not installed."""
    try:
        load_rtx("This test")
    except MissingError as error:
        pytest.skip(str(error))


def two_layers() -> Graph:
    """Two quantized convolutions with a Relu between them, ``second`` the last."""
    made = Graph((2, 4, 6, 6))
    first = made.node("Relu", [made.conv(made.pair("x", 0.1), "first", kernel=3)], "relu")
    made.conv(made.pair(first, 0.1), "second", kernel=3)
    return made


def saved(proto: onnx.ModelProto, path: Path) -> Path:
    """Writes the graph, and returns where."""
    onnx.save(proto, str(path))
    return path


def two_layers_in(folder: Path) -> Path:
    """``m.onnx`` with them."""
    return saved(two_layers().proto("second"), folder / "m.onnx")
