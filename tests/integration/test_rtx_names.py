"""Nodes of any name are found in what TensorRT for RTX builds, and none is taken for another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import trtqat as package
from tests.support.graphs import Graph
from tests.support.rtx_graphs import saved
from trtqat.plan.coverage import Coverage


def chain(*names: str, quantized: tuple[bool, ...]) -> onnx.ModelProto:
    """Convolutions behind each other, whose nodes have these names."""
    made, tensor = Graph((2, 16, 6, 6)), "x"
    outputs = [f"y{place}" for place in range(len(names))]
    for output, is_quantized in zip(outputs, quantized, strict=True):
        data = made.pair(tensor, 0.1)
        tensor = made.conv(data, output, (16, 16), kernel=3, quantized=is_quantized)
    proto = made.proto(tensor)
    called = {f"/{output}": name for output, name in zip(outputs, names, strict=True)}
    for node in proto.graph.node:
        node.name = called.get(node.name, node.name)
    return proto


def built(proto: onnx.ModelProto, folder: Path) -> Coverage:
    graph = saved(proto, folder / "m.onnx")
    found = package.build(graph, folder / "m.engine", for_="rtx", targets="sm89").coverage
    assert found is not None
    return found


def test_brackets(tmp_path: Path) -> None:
    """Cut off at its first bracket, the first one would be the second one."""
    coverage = built(chain("a[0]", "a[0", "b, (1) + c", quantized=(True, False, True)), tmp_path)
    assert [(layer.name, layer.runs_int8) for layer in coverage.layers] == [
        ("a[0]", True),
        ("a[0", False),
        ("b, (1) + c", True),
    ]
    assert len({layer.engine_layer for layer in coverage.layers}) == 3


@pytest.mark.parametrize("quantized", [(True, False), (False, True)])
def test_nodes_of_one_name(quantized: tuple[bool, bool], tmp_path: Path) -> None:
    """Nothing tells which kernel is whose, so none is said to be INT8 unless all are."""
    first, second = built(chain("a", "a", quantized=quantized), tmp_path).layers
    assert (first.runs_int8, second.runs_int8) == (None, None)
    assert (first.engine_layer, second.engine_layer) == ("", "")
    wanted = first if first.wants_int8 else second
    assert wanted.reason == "2 nodes of the graph have its name"


def test_quantized_nodes_of_one_name(tmp_path: Path) -> None:
    coverage = built(chain("a", "a", quantized=(True, True)), tmp_path)
    assert [layer.runs_int8 for layer in coverage.layers] == [True, True]


def test_the_products_of_one_name_may_be_of_other_kinds(tmp_path: Path) -> None:
    """The float one is fused where the plan is loaded, and is in the list as another kind."""
    made = Graph((2, 16, 16))
    weight = made.constant("weight", np.eye(16, dtype=np.float32))
    product = made.node("MatMul", [made.pair("x", 0.1), made.pair(weight, 0.1)], "product")
    made.node("MatMul", [made.pair(product, 0.1), weight], "last")
    proto = made.proto("last")
    for node in proto.graph.node:
        node.name = "product" if node.op_type == "MatMul" else node.name
    coverage = built(proto, tmp_path)
    assert [layer.runs_int8 for layer in coverage.layers] == [None, None]
    assert coverage.int8_share == 0


def test_nodes_without_a_name(tmp_path: Path) -> None:
    """TensorRT calls them after what they write; another node may be called like that."""
    proto = chain("", "y0", quantized=(True, False))
    for node in proto.graph.node:
        node.name = "" if "Linear" in node.op_type else node.name
    coverage = built(proto, tmp_path)
    assert [(layer.name, layer.runs_int8) for layer in coverage.layers] == [
        ("y0", True),
        ("y0", False),
    ]
    unnamed = coverage.layers[0]
    assert unnamed.engine_layer.startswith("node_of_y0")
    assert "node_of_y0" not in unnamed.fused_with


def test_attention_without_names(tmp_path: Path) -> None:
    """Its one kernel is INT8 if it runs the DequantizeLinear nodes of its operands."""
    made = Graph((2, 16, 64))
    made.inputs["x"] = ("N", 16, 64)
    apart = made.constant("apart", np.array([0, 0, 4, 16], np.int64))
    together = made.constant("together", np.array([0, 0, 64], np.int64))

    def linear(tensor: str, name: str) -> str:
        weight = made.constant(f"{name}.weight", np.eye(64, dtype=np.float32))
        return made.node("MatMul", [tensor, made.pair(weight, 0.1)], name)

    def heads(name: str, order: list[int]) -> str:
        parts = made.node("Reshape", [linear(tokens, name), apart], f"{name}.parts")
        return made.pair(made.node("Transpose", [parts], f"{name}.heads", perm=order), 0.1)

    tokens = made.pair("x", 0.1)
    query, key, value = heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1]), heads("v", [0, 2, 1, 3])
    scores = made.node("MatMul", [query, key], "scores")
    scaled = made.node("Mul", [scores, made.constant("scale", np.float32(0.25))], "scaled")
    weights = made.pair(made.node("Softmax", [scaled], "softmax", axis=-1), 1 / 127)
    mixed = made.node("MatMul", [weights, value], "mixed")
    beside = made.node("Transpose", [mixed], "beside", perm=[0, 2, 1, 3])
    joined = made.node("Reshape", [beside, together], "joined")
    proto = made.proto(linear(made.pair(joined, 0.1), "out"))
    for node in proto.graph.node:
        node.name = ""
    coverage = built(proto, tmp_path)
    assert [layer.name for layer in coverage.layers] == ["q", "k", "v", "scores", "mixed", "out"]
    assert coverage.missed == ()
    assert len({layer.engine_layer for layer in coverage.layers[3:5]}) == 1


def test_nodes_inside_functions(tmp_path: Path) -> None:
    """TensorRT names the calls behind the node, and those without a name after what they write."""
    made = Graph((2, 16, 6, 6))
    weight = made.pair(made.constant("weight", np.ones((16, 16, 1, 1), np.float32)), 0.1)
    made.node("Outer", [made.pair("x", 0.1), weight], "first", domain="mine")
    made.node("Outer", [made.pair("first", 0.1), weight], "second", domain="mine")
    proto = made.proto("second")
    proto.graph.node[-1].name = ""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    for name, body in (
        ("Inner", helper.make_node("Conv", ["a", "b"], ["c"])),
        ("Outer", helper.make_node("Inner", ["a", "b"], ["c"], name="call", domain="mine")),
    ):
        proto.functions.append(
            helper.make_function("mine", name, ["a", "b"], ["c"], [body], opsets)
        )
    proto.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, (2, 16, 6, 6))
    )
    coverage = built(proto, tmp_path)
    assert len(coverage.wanted) == 2
    assert coverage.missed == ()
    assert len({layer.engine_layer for layer in coverage.layers}) == 2
