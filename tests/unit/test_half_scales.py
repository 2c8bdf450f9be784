"""Scales and codes: what FP16 may change and what not."""

from __future__ import annotations

import numpy as np
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from trtqat.graph.half_scales import (
    HALF_MAX,
    HALF_MIN,
    MAX_SCALE_CHANGE,
    quantize,
    round_scale,
)
from trtqat.tensors import Array

POSITIVE = st.floats(2.0**-40, 2.0**20, width=32)


@given(hnp.arrays(np.float32, st.integers(1, 8), elements=POSITIVE))
def test_a_scale_is_rounded_by_little_or_reported_lost(scale: Array) -> None:
    rounded = round_scale(scale)
    fits = bool(((scale >= HALF_MIN) & (scale <= HALF_MAX)).all())
    assert bool(rounded.lost) == (not fits)
    if fits:
        assert rounded.array.dtype == np.float16
        assert (rounded.array > 0).all()
        assert rounded.worst_change <= MAX_SCALE_CHANGE
        np.testing.assert_allclose(
            rounded.array.astype(np.float64), scale, rtol=MAX_SCALE_CHANGE, atol=0
        )
        assert rounded.rounded == (rounded.array.astype(np.float32) != scale).sum()


def test_the_scale_of_a_dead_channel_does_not_count_but_stays_positive() -> None:
    scale = np.array([0.01, 1e-12], np.float32)
    assert "1e-12" in round_scale(scale).lost
    rounded = round_scale(scale, np.array([True, False]))
    assert rounded.lost == ""
    assert rounded.worst_change <= MAX_SCALE_CHANGE
    assert rounded.array[1] == np.float16(HALF_MIN)


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(np.float32, (3, 4), elements=st.floats(-4, 4, width=32)),
    hnp.arrays(np.float32, (3,), elements=st.floats(2.0**-9, 0.5, width=32)),
)
def test_codes_are_those_of_onnx_runtime(weights: Array, scale: Array) -> None:
    zero_point = np.zeros(3, np.int8)
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=0)],
        "graph",
        [
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 4]),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("z", TensorProto.INT8, [3]),
        ],
        [helper.make_tensor_value_info("q", TensorProto.INT8, [3, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"w": weights, "s": scale, "z": zero_point})
    np.testing.assert_array_equal(quantize(weights, scale, zero_point, 0), expected)


def test_rounding_weight_and_scale_first_would_move_codes() -> None:
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((64, 64)).astype(np.float32)
    scale = (np.abs(weights).max(1) / 127).astype(np.float32)
    zero = np.zeros(64, np.int8)
    trained = quantize(weights, scale, zero, 0)
    rounded = quantize(
        weights.astype(np.float16).astype(np.float32),
        scale.astype(np.float16).astype(np.float32),
        zero,
        0,
    )
    assert (trained != rounded).mean() > 0.005
