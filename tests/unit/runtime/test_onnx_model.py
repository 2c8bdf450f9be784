"""Graphs on ONNX Runtime compute what is written, also in its integer kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.graphs import Graph
from trtqat.errors import InferenceError
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


def test_a_shape_in_a_file_beside_the_graph(tmp_path: Path) -> None:
    graph = Graph((2, 4, 8, 8))
    convolved = graph.conv("x", "c", (16, 4), kernel=3, quantized=False)
    shape = graph.constant("shape", np.array([2, -1], np.int64))
    graph.node("Reshape", [convolved, shape], "y")
    feed = {"x": np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype(np.float32)}
    proto, path = graph.proto("y"), tmp_path / "m.onnx"
    with OnnxModel(proto.SerializeToString()) as model, model.session(2) as session:
        expected = session.run(feed)["y"].copy()
    onnx.save(proto, str(path), save_as_external_data=True, size_threshold=0)
    with OnnxModel(path) as model, model.session(2) as session:
        np.testing.assert_array_equal(session.run(feed)["y"], expected)


def test_loaded_inputs_that_do_not_fit_are_told_as_those_of_a_run() -> None:
    graph = Graph((1, 8))
    graph.node("Relu", ["x"], "y")
    wrong = {"x": np.ones((1, 9), np.float32)}
    with OnnxModel(graph.proto("y").SerializeToString()) as model, model.session(1) as session:
        session.load(wrong)
        with pytest.raises(InferenceError, match="Got invalid dimensions for input: x") as timed:
            session.compute_times_ms(1)
        with pytest.raises(InferenceError) as run:
            session.run(wrong)
    assert str(timed.value) == str(run.value)
