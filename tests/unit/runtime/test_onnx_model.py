"""Graphs on ONNX Runtime compute what is written, also in its integer kernels."""

from __future__ import annotations

import numpy as np

from tests.support.graphs import Graph
from trtqat.runtime.onnx_model import OnnxModel


def test_sums_of_large_codes_do_not_overflow() -> None:
    """It could only fail on a CPU without VNNI, which adds two products of bytes in 16 bits."""
    graph = Graph((1, 64, 8, 8))
    graph.constant("w", np.full((64, 64, 3, 3), 1.27, np.float32))
    graph.constant("ws", np.full(64, 0.01, np.float32))
    graph.constant("wz", np.zeros(64, np.int8))
    graph.constant("s", np.array(0.01, np.float32))
    graph.constant("z", np.array(0, np.int8))
    graph.constant("ys", np.array(10.0, np.float32))
    for name, scale, zero, value, axis in (
        ("x", "s", "z", "x", {}),
        ("w", "ws", "wz", "w", {"axis": 0}),
    ):
        graph.node("QuantizeLinear", [value, scale, zero], f"{name}.q", **axis)
        graph.node("DequantizeLinear", [f"{name}.q", scale, zero], f"{name}.dq", **axis)
    graph.node("Conv", ["x.dq", "w.dq"], "c", kernel_shape=[3, 3])
    graph.node("QuantizeLinear", ["c", "ys", "z"], "c.q")
    graph.node("DequantizeLinear", ["c.q", "ys", "z"], "y")
    content: bytes = graph.proto("y").SerializeToString()
    feed = {"x": np.full((1, 64, 8, 8), 1.27, np.float32)}
    found = []
    for as_written in (True, False):
        with OnnxModel(content, as_written=as_written) as model, model.session(1) as session:
            found.append(session.run(feed)["y"])
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].mean() > 900
