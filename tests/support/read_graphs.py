"""Graphs for the tests of reading, and how a damaged one is refused."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.support.graphs import Graph, batch_norm
from trtqat.errors import GraphError
from trtqat.graph_file.reading import read_model
from trtqat.runtime.onnx_model import OnnxModel


def convolution(shape: tuple[int, ...] = (2, 4, 5, 5)) -> Graph:
    """A quantized convolution, a BatchNorm, a MaxPool and a Relu."""
    graph = Graph(shape)
    graph.conv(graph.pair("x", 0.05), "conv", kernel=3)
    graph.batch_norm("conv", batch_norm(4), "norm")
    graph.node("MaxPool", ["norm"], "pool", kernel_shape=[1, 1])
    graph.node("Relu", ["pool"], "y")
    return graph


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    """Writes ``m.onnx``, whatever is wrong with it."""
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def initializer(proto: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """The initializer of that name."""
    found: onnx.TensorProto = next(t for t in proto.graph.initializer if t.name == name)
    return found


def assert_refused(path: Path, expected: str) -> None:
    """All that reads a file refuses this one, with the expected words."""
    for read in (read_model, OnnxModel):
        with pytest.raises(GraphError, match=expected) as refused:
            read(path)
        assert str(path) in refused.value.problem
        assert refused.value.exit_code == 2
        assert refused.value.remedy
