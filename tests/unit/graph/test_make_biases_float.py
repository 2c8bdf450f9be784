"""INT32 biases become float, bit for bit; what DequantizeLinear does to anything else stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tests.support.graphs import Graph, operators, run
from trtqat.graph.passes.make_biases_float import make_biases_float
from trtqat.tensors import Array

X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)


def model(scale: Array, zero_point: int = 0, dtype: type = np.int32) -> ir.Model:
    graph = Graph((2, 4))
    random = np.random.default_rng(1)
    limit = min(np.iinfo(dtype).max, 2**30)
    graph.constant("b_quantized", random.integers(-limit, limit, 4).astype(dtype))
    graph.constant("b_scale", scale.astype(np.float32))
    graph.constant("b_zero_point", np.full(scale.shape, zero_point, dtype))
    names = ["b_quantized", "b_scale", "b_zero_point"]
    graph.node("DequantizeLinear", names, "b", **({"axis": 0} if scale.ndim else {}))
    graph.constant("w", random.normal(size=(4, 4)).astype(np.float32))
    graph.node("Gemm", ["x", "w", "b"], "y")
    return graph.model("y")


@pytest.mark.parametrize("scale", [np.array(3.3e-6), np.array([1e-9, 0.3, 7e-4, 1.7e-6])])
def test_no_bit_changes(scale: Array) -> None:
    graph = model(scale)
    expected = run(graph, X)[0]
    assert make_biases_float(graph).count == 1
    assert operators(graph) == ["Gemm"]
    assert sorted(graph.graph.initializers) == ["b", "w"]
    assert run(graph, X)[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize(("zero_point", "dtype"), [(3, np.int8), (0, np.int8)])
def test_others_stay(zero_point: int, dtype: type) -> None:
    graph = model(np.array(0.01), zero_point, dtype)
    assert make_biases_float(graph).count == 0
    assert operators(graph) == ["DequantizeLinear", "Gemm"]
