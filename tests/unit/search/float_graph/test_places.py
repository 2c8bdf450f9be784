"""Where pairs stand in graphs that are quantized without a PyTorch model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.support.float_graphs import write_float
from tests.support.graphs import Graph
from trtqat.errors import QuantizerError
from trtqat.search.result import QuantizeResult

pytestmark = pytest.mark.usefixtures("one_thread")


def conv(graph: Graph, data: str, output: str, **options: Any) -> str:
    return graph.conv(data, output, (8, 8), quantized=False, **options)


def image() -> Graph:
    return Graph(("N", 8, 6, 6))  # type: ignore[arg-type]


def quantize(graph: Graph, folder: Path, *outputs: str, **options: object) -> QuantizeResult:
    return write_float(graph, folder, *outputs).quantized(**options)


def places(result: QuantizeResult) -> list[tuple[str, ...]]:
    """Of the quantizers of activations, by name."""
    return sorted(each.places for each in result.ranges if not each.is_weight)


def pairs(path: Path) -> dict[str, tuple[float, list[str]]]:
    """By the tensor that is quantized: the scale, and the operators that read the result."""
    graph = onnx.load(str(path)).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants:
            continue
        (dequantize,) = (each for each in graph.node if node.output[0] in each.input)
        readers = [each.name for each in graph.node if dequantize.output[0] in each.input]
        assert node.input[0] not in found, "a tensor is quantized once"
        found[node.input[0]] = float(constants[node.input[1]]), readers
    return found


def reasons(result: QuantizeResult) -> dict[str, str]:
    return {layer.name: layer.kept for layer in result.layers}


def test_readers_of_a_tensor_share_its_pair_and_others_read_floats(tmp_path: Path) -> None:
    graph = image()
    graph.node("Relu", ["x"], "r")
    conv(graph, "r", "a")
    conv(graph, "r", "b", kernel=3)
    graph.node("Softmax", ["r"], "s")
    result = quantize(graph, tmp_path, "a", "b", "s", "r")
    assert places(result) == [("a.input", "b.input")]
    assert pairs(result.path)["r"][1] == ["/a", "/b"]
    written = onnx.load(str(result.path)).graph
    (softmax,) = (node for node in written.node if node.op_type == "Softmax")
    assert softmax.input[0] == "r"
    assert [each.name for each in written.output] == ["a", "b", "s", "r"]


@pytest.mark.parametrize("operator", ["Add", "Sum"])
def test_the_skip_operand_of_a_sum_that_is_quantized_later(operator: str, tmp_path: Path) -> None:
    graph = image()
    conv(graph, "x", "first")
    conv(graph, graph.node("Relu", ["first"], "r"), "second", kernel=3)
    graph.node("Relu", [graph.node(operator, ["second", "r"], "sum")], "out")
    conv(graph, "out", "third")
    # Nobody quantizes the second sum, so it rounds nothing.
    graph.node("Add", ["third", "out"], "y")
    result = quantize(graph, tmp_path, "y")
    assert places(result) == [("first.input",), ("second.input", "sum.right"), ("third.input",)]
    assert [each for each in result.findings if each.severity == "warning"] == []


def test_without_a_layer_straight_before_it_both_operands_of_a_sum(tmp_path: Path) -> None:
    graph = image()
    one = graph.node("Relu", [conv(graph, "x", "a")], "ra")
    other = graph.node("Relu", [conv(graph, "x", "b")], "rb")
    conv(graph, graph.node("Add", [one, other], "sum"), "y")
    result = quantize(graph, tmp_path, "y")
    assert ("sum.left",) in places(result)
    assert ("sum.right",) in places(result)


def test_the_parts_of_a_concat_have_one_range_with_its_result(tmp_path: Path) -> None:
    graph = image()
    graph.node("Relu", [conv(graph, "x", "a")], "ra")
    graph.node("Mul", ["ra", graph.constant("nine", np.float32(9))], "large")
    graph.node("Concat", ["ra", "large"], "joined", axis=1)
    graph.conv("joined", "y", (8, 16), quantized=False)
    result = quantize(graph, tmp_path, "y")
    assert ("joined.input_0", "joined.input_1", "y.input") in places(result)
    found = pairs(result.path)
    assert found["ra"][0] == found["large"][0] == found["joined"][0]


def test_pools_and_products_that_scale_channels(tmp_path: Path) -> None:
    graph = image()
    graph.node("Relu", [conv(graph, "x", "a")], "r")
    graph.node("GlobalAveragePool", ["r"], "pooled")
    graph.node("Sigmoid", [conv(graph, "pooled", "s")], "gate")
    graph.node("Mul", ["r", "gate"], "scaled")
    conv(graph, "scaled", "b")
    # Of full size: the layers around it are INT8 without.
    graph.node("Mul", ["b", graph.node("Sigmoid", ["b"], "sb")], "silu")
    conv(graph, "silu", "y")
    result = quantize(graph, tmp_path, "y")
    assert set(places(result)) == {
        ("a.input",),
        ("pooled.input", "scaled.left"),
        ("s.input",),
        ("scaled.right",),
        ("b.input",),
        ("y.input",),
    }


def test_a_max_pool_keeps_the_range_of_what_it_pools(tmp_path: Path) -> None:
    graph = image()
    graph.node("Relu", ["x"], "r")
    conv(graph, "r", "a")
    conv(graph, graph.node("MaxPool", ["r"], "m", kernel_shape=[2, 2]), "b")
    result = quantize(graph, tmp_path, "a", "b")
    assert places(result) == [("a.input", "b.input")]
    found = pairs(result.path)
    assert found["r"][0] == found["m"][0]


def test_products_of_activations_and_weights_of_every_form(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    graph = Graph(("N", 4, 8))  # type: ignore[arg-type]
    weight = graph.constant("w", random.normal(size=(8, 8)).astype(np.float32) * 2)
    graph.node("MatMul", ["x", weight], "a")
    graph.node("MatMul", ["x", graph.node("Transpose", [weight], "wt", perm=[1, 0])], "b")
    graph.node("MatMul", ["a", graph.node("Transpose", ["b"], "bt", perm=[0, 2, 1])], "scores")
    left = graph.constant("left", random.normal(size=(5, 4)).astype(np.float32))
    graph.node("MatMul", [left, "scores"], "c")
    stack = graph.constant("stack", random.normal(size=(1, 4, 8)).astype(np.float32))
    graph.node("MatMul", ["c", stack], "y")
    vector = graph.constant("v", random.normal(size=8).astype(np.float32))
    graph.node("MatMul", ["y", vector], "z")
    result = quantize(graph, tmp_path, "z")
    found = {each.places[0]: each for each in result.ranges}
    weights = {name for name, each in found.items() if each.is_weight}
    assert weights == {"a.weight", "b.weight", "c.weight", "y.weight"}
    assert ("a.input", "b.input") in places(result)
    assert ("scores.left",) in places(result)
    axes = {
        node.name: [attribute.i for attribute in node.attribute]
        for node in onnx.load(str(result.path)).graph.node
        if node.op_type == "DequantizeLinear"
    }
    # The first operand's outputs are its rows; a stack of weights has no axis of outputs.
    assert axes["/a/weight/DequantizeLinear"] == [1]
    assert axes["/c/weight/DequantizeLinear"] == [0]
    assert axes["/y/weight/DequantizeLinear"] == []
    assert reasons(result)["/z"] == "one of its operands is a vector"


def test_a_weight_that_two_layers_read_has_one_quantizer(tmp_path: Path) -> None:
    graph = image()
    conv(graph, "x", "a")
    graph.node("Conv", [graph.node("Relu", ["a"], "r"), "a.weight"], "y")
    result = quantize(graph, tmp_path, "y")
    weights = [each.places for each in result.ranges if each.is_weight]
    assert weights == [("a.weight", "y.weight")]
    types = Counter(node.op_type for node in onnx.load(str(result.path)).graph.node)
    assert (types["QuantizeLinear"], types["DequantizeLinear"]) == (2, 3)


def test_what_stays_float_is_listed_with_its_reason(tmp_path: Path) -> None:
    graph = image()
    random = np.random.default_rng(2)
    conv(graph, "x", "a")
    up = graph.constant("up.weight", random.normal(size=(8, 8, 2, 2)).astype(np.float32))
    graph.node("ConvTranspose", ["a", up], "up", strides=[2, 2])
    graph.node("ReduceMean", ["x"], "kernel", axes=[0], keepdims=1)
    graph.node("Conv", ["a", "kernel"], "dynamic")
    graph.node("Einsum", ["a", "a"], "e", equation="nchw,ndhw->ncd")
    graph.node("MatMul", [graph.constant("k", np.eye(4, dtype=np.float32)), "k"], "constant")
    graph.node("Add", ["e", graph.node("ReduceSum", ["constant"], "total", keepdims=0)], "sum")
    result = quantize(graph, tmp_path, "up", "dynamic", "sum", images=1, batch_size=1)
    found = reasons(result)
    assert found == {
        "/a": "",
        "/up": "TensorRT 8.6 builds no quantized transposed convolution",
        "/dynamic": "its weight is computed from the input",
        "/e": "it multiplies in a way that takes no quantizer",
        "/constant": "it computes on weights alone",
    }


def test_groups_of_few_channels_are_quantized_for_a_newer_tensorrt(tmp_path: Path) -> None:
    graph = image()
    weight = np.random.default_rng(2).normal(size=(16, 1, 3, 3)).astype(np.float32)
    graph.node("Conv", [conv(graph, "x", "a"), graph.constant("w", weight)], "many", group=8)
    assert "groups of fewer than four" in reasons(quantize(graph, tmp_path, "many"))["/many"]
    assert reasons(quantize(graph, tmp_path, "many", for_="10"))["/many"] == ""


def test_for_a_newer_tensorrt_transposed_convolutions_are_quantized(tmp_path: Path) -> None:
    graph = image()
    up = graph.constant("up.weight", np.ones((8, 8, 2, 2), np.float32))
    graph.node("ConvTranspose", [conv(graph, "x", "a"), up], "up", strides=[2, 2])
    rtx = quantize(graph, tmp_path, "up", for_="rtx")
    assert "TensorRT for RTX runs a quantized transposed" in reasons(rtx)["/up"]
    newer = quantize(graph, tmp_path, "up", for_="11")
    assert reasons(newer)["/up"] == ""
    # In an opset that 8.6 does not read, which refuses such a layer.
    assert onnx.load(str(newer.path)).opset_import[0].version == 19
    assert [each for each in newer.findings if each.severity == "warning"] == []


def test_kept_layers_change_no_other_place(tmp_path: Path) -> None:
    graph = image()
    conv(graph, "x", "stem/a")
    conv(graph, graph.node("Relu", ["stem/a"], "r"), "block/b", kernel=3)
    graph.node("Relu", [graph.node("Add", ["block/b", "r"], "block/sum")], "out")
    conv(graph, "out", "head")
    every = quantize(graph, tmp_path, "head")
    for pattern in ("/block/b", "block.*", "/block/b*"):
        result = quantize(graph, tmp_path, "head", keep=[pattern])
        assert reasons(result) == {"/stem/a": "", "/block/b": "as asked", "/head": ""}
    left = quantize(graph, tmp_path, "head", keep=["/block/b"])
    assert set(places(left)) == {("stem.a.input",), ("block.sum.right",), ("head.input",)}
    assert ("block.b.input", "block.sum.right") in places(every)
    assert left.int8_share is not None
    assert 0 < left.int8_share < 1
    with pytest.raises(QuantizerError, match="'nothing' matches no layer") as raised:
        quantize(graph, tmp_path, "head", keep=["nothing"])
    assert "/stem/a, /block/b, /head" in raised.value.remedy
    with pytest.raises(QuantizerError, match="no layer that would be quantized, of 3"):
        quantize(graph, tmp_path, "head", keep=["*"])


def test_positions_that_are_made_in_double_are_computed(tmp_path: Path) -> None:
    """As RT-DETR makes them of the height, which its shape alone says; TensorRT has no doubles."""
    graph = image()
    conv(graph, "x", "c")
    height = graph.node("Gather", [graph.node("Shape", ["c"], "shape"), "axis"], "height")
    graph.constants["axis"] = np.array(2)
    graph.constants["zero"], graph.constants["one"] = np.array(0.0), np.array(1.0)
    end = graph.node("Cast", [height], "end", to=onnx.TensorProto.DOUBLE)
    rows = graph.node("Sin", [graph.node("Range", ["zero", end, "one"], "rows")], "sines")
    table = graph.node("Cast", [rows], "table", to=onnx.TensorProto.FLOAT)
    graph.node("Add", ["c", table], "moved")
    conv(graph, "moved", "y")
    result = quantize(graph, tmp_path, "y")
    assert reasons(result) == {"/c": "", "/y": ""}
    written = onnx.load(str(result.path)).graph
    assert not {node.op_type for node in written.node} & {"Range", "Sin", "Cast", "Shape"}
    (positions,) = (each for each in written.initializer if each.name == "table")
    np.testing.assert_allclose(numpy_helper.to_array(positions), np.sin(np.arange(6)), rtol=1e-6)


def test_layers_inside_an_if_are_named_and_stay_float(tmp_path: Path) -> None:
    graph = image()
    conv(graph, "x", "a")
    branch = Graph(("N", 8, 6, 6))  # type: ignore[arg-type]
    conv(branch, "a", "inner")
    body = branch.proto("inner").graph
    del body.input[:]
    graph.node("ReduceMax", ["x"], "most", keepdims=0)
    graph.node("Greater", ["most", graph.constant("zero", np.float32(0))], "positive")
    graph.node("If", ["positive"], "y", then_branch=body, else_branch=body)
    result = quantize(graph, tmp_path, "y")
    assert reasons(result) == {"/a": "", "/y": "it stands in an If, a Loop or a Scan"}
