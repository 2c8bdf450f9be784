"""Scales and codes: what FP16 may change and what not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trtqat.graph.half.scales import (
    HALF_MAX,
    HALF_MIN,
    MAX_SCALE_CHANGE,
    round_scale,
)
from trtqat.graph.lenses.pairs import quantize_array
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


def test_rounding_weight_and_scale_first_would_move_codes() -> None:
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((64, 64)).astype(np.float32)
    scale = (np.abs(weights).max(1) / 127).astype(np.float32)
    trained = quantize_array(weights, scale, 0)
    rounded = quantize_array(
        weights.astype(np.float16).astype(np.float32),
        scale.astype(np.float16).astype(np.float32),
        0,
    )
    assert (trained != rounded).mean() > 0.005
