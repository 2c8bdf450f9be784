"""The float graph behind a Q/DQ graph: it computes what the codes stand for."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from tests.support.counted_graphs import quantized_branch
from tests.support.graphs import Graph
from trtqat.errors import GraphError
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.runtime.onnx_model import OnnxModel


@pytest.mark.parametrize("product", ["y", "fc", "fc.float"])
def test_a_weight_takes_no_name_of_another_tensor(product: str) -> None:
    """As in a graph whose layer ``fc`` has the weight ``fc.codes``."""
    codes = np.array([[1, -2], [3, 4]], np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["fc.codes", "scale", "zero"], ["weight"]),
        helper.make_node("MatMul", ["x", "weight"], [product]),
        helper.make_node("Relu", [product], ["result"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(codes, "fc.codes"),
            numpy_helper.from_array(np.float32(0.5), "scale"),
            numpy_helper.from_array(np.int8(0), "zero"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    assert remove_quantization(model).count == 1
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    x = np.array([[1, 2], [-1, 0.5]], np.float32)
    result = OnnxModel(proto.SerializeToString(), as_written=True).session(2).run({"x": x})
    assert np.array_equal(result["result"], np.maximum(x @ (codes * np.float32(0.5)), 0))


def test_what_is_quantized_in_a_branch_is_not_said_to_be_float() -> None:
    with pytest.raises(GraphError, match=r"^'/z' \(If\) has Q/DQ pairs inside"):
        remove_quantization(quantized_branch().model("z"))


def test_an_output_that_is_quantized_keeps_its_name() -> None:
    """Also where the tensor before its pair is an output, too."""
    graph = Graph((2, 3))
    graph.node("Relu", ["x"], "inner")
    graph.pair("inner", 0.1, name="logits")
    x = np.array([[1, -2, 0.34], [3, 4, 5]], np.float32)
    for outputs in (("logits.dq",), ("inner", "logits.dq"), ("logits.dq", "inner")):
        model = graph.model(*outputs)
        assert remove_quantization(model).count == 1
        assert tuple(str(value.name) for value in model.graph.outputs) == outputs
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        found = OnnxModel(proto.SerializeToString(), as_written=True).session(2).run({"x": x})
        assert list(found) == list(outputs)
        for each in found.values():
            np.testing.assert_array_equal(each, np.maximum(x, 0))
