"""What a graph computes from its initializers alone."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array


def evaluate_weight(graph: ir.Graph, value: ir.Value) -> Array:
    """Computes a tensor that depends on initializers only, as float32."""
    return np.asarray(evaluate_constants(graph, [value])[value], np.float32)


def evaluate_constants(graph: ir.Graph, values: Sequence[ir.Value]) -> dict[ir.Value, Array]:
    """Computes tensors that depend on initializers only.

    Not with onnx's reference evaluator: that has no DequantizeLinear before opset 19, and a
    weight may come from INT8 codes through a Transpose (onnxruntime.quantization writes that).
    """
    subgraph = ir.convenience.extract(graph, [], list(values))
    model = ir.Model(subgraph, ir_version=8)
    proto: onnx.ModelProto = ir.to_proto(model)
    with contextlib.closing(OnnxModel(proto.SerializeToString(), as_written=True)) as computed:
        results = computed.session(0).run({})
    return {value: results[str(value.name)] for value in values}
