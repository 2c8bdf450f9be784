"""A Trilu of booleans is written as one of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.support.graphs import Graph, run
from trtqat.graph.passes.canonical_graph import canonical_graph
from trtqat.graph.passes.write_trilu import write_trilu

INPUT = {"x": np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)}


def causal(kind: int) -> ir.Model:
    """A mask of the shape of the input, as PyTorch's TorchScript exporter makes it."""
    shape: Any = ("N", 4, 4)
    graph = Graph(shape)
    size = graph.node("Shape", ["x"], "size")
    ones = helper.make_tensor("value", kind, [1], [1])
    graph.node("ConstantOfShape", [size], "ones", value=ones)
    graph.node("Trilu", ["ones", graph.constant("k", np.array(-1))], "mask", upper=0)
    graph.node("Cast", ["mask"], "m", to=TensorProto.FLOAT)
    graph.node("Mul", ["x", "m"], "y")
    return graph.model("y", "mask")


@pytest.mark.parametrize("infers", [False, True])
def test_booleans_become_integers_for_it(infers: bool) -> None:
    model = causal(TensorProto.BOOL)
    if infers:
        model = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))
    before = run(model, INPUT)
    assert write_trilu(model).count == 1
    (trilu,) = (node for node in model.graph if node.op_type == "Trilu")
    cast = trilu.inputs[0].producer()  # type: ignore[union-attr]
    assert cast is not None
    assert cast.attributes["to"].as_int() == TensorProto.INT32
    assert [value.name for value in model.graph.outputs] == ["y", "mask"]
    for one, other in zip(before, run(model, INPUT), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert write_trilu(model).count == 0


def test_other_types_stay() -> None:
    model = causal(TensorProto.FLOAT)
    assert write_trilu(model).count == 0


def test_it_is_for_8_6_alone() -> None:
    assert write_trilu in canonical_graph(opset=17)
    assert write_trilu not in canonical_graph(opset=19)
