"""Graphs of a few nodes behind one input."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from trtqat.tensors import Array

SHAPE = (2, 6, 5)


def model(
    nodes: list[onnx.NodeProto],
    initializers: dict[str, Array] | None = None,
    opset: int = 18,
    shape: tuple[int, ...] = SHAPE,
) -> ir.Model:
    outputs = list(nodes[-1].output)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("trtqat", 1)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def run(built: ir.Model, x: Array) -> list[Any]:
    proto: onnx.ModelProto = ir.to_proto(built)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return list(session.run(None, {"x": x}))
