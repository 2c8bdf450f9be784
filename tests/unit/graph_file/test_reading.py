"""What is put right where an ONNX file is read: the order of nodes, shapes and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.graphs import Graph, run
from tests.support.read_graphs import convolution, saved
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lint import lint
from trtqat.graph_file.reading import read_model
from trtqat.runtime.onnx_model import OnnxModel


def test_nodes_in_another_order_are_sorted(tmp_path: Path) -> None:
    proto = convolution().proto("y")
    expected = [each.name for each in proto.graph.node]
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 5)).astype(np.float32)
    before = run(read_model(saved(proto, tmp_path)), x)
    nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    model = read_model(saved(proto, tmp_path))
    found = [each.name for each in model.graph]
    assert sorted(map(str, found)) == sorted(expected)
    assert found[-1] == "/y"
    np.testing.assert_array_equal(run(model, x)[0], before[0])


def test_ten_thousand_nodes_backwards(tmp_path: Path) -> None:
    graph = Graph((1, 4))
    tensor = graph.pair("x", 0.1)
    for index in range(10_000):
        tensor = graph.node("Relu", [tensor], f"r{index}")
    proto = graph.proto(tensor)
    nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    assert [each.name for each in read_model(saved(proto, tmp_path)).graph][-1] == "/r9999"


def test_stale_shapes_are_inferred_again(tmp_path: Path) -> None:
    """As after the input's size was changed by hand: the tensors' declared ones are left."""
    proto = convolution().proto("y")
    for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 60_000
    model = read_model(saved(proto, tmp_path))
    lint(model)
    (layer,) = summarize(model).layers
    assert layer.macs == 4 * 4 * 9 * 60_000**2
    assert model.graph.outputs[0].shape == (2, 4, 60_000, 60_000)


@pytest.mark.parametrize("declared", [0, -1])
def test_a_batch_that_is_none_is_open(declared: int, tmp_path: Path) -> None:
    proto = convolution((2, 4, 5, 5)).proto("y")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        value.type.tensor_type.shape.dim[0].dim_value = declared
    path = saved(proto, tmp_path)
    model = read_model(path)
    assert [str(dim) for dim in model.graph.inputs[0].shape or ()] == ["batch", "4", "5", "5"]
    reference = OnnxModel(path)
    assert reference.batch_range == (1, None)
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 5)).astype(np.float32)
    assert reference.session(3).run({"x": x})["y"].shape == (3, 4, 5, 5)


def test_operators_of_other_domains_are_not_checked(tmp_path: Path) -> None:
    graph = Graph((1, 4))
    graph.node("Plugin", [graph.pair("x", 0.1)], "p", domain="own", anything=3)
    graph.node("Relu", ["p"], "y")
    assert len(read_model(saved(graph.proto("y"), tmp_path)).graph) == 4
