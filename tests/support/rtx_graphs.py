"""Small quantized graphs in files, for TensorRT for RTX to build."""

from __future__ import annotations

from pathlib import Path

import onnx

from tests.support.graphs import Graph


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
