"""What a metric keeps, in a report and back."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trtqat.evaluation.metrics.metric import PerSample
from trtqat.evaluation.metrics.packing import Packed, PackedSamples, pack_samples, unpack_samples

NUMBERS = st.one_of(
    st.integers(-200, 200).map(float),
    st.integers(-(2**40), 2**40).map(float),
    st.floats(width=32),
    st.floats(),
)


@given(arrays.arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(1, 4)), elements=NUMBERS))
def test_numbers_come_back_exactly(rows: Any) -> None:
    found = unpack_samples(pack_samples(PerSample(rows, np.ones(len(rows), np.int64))))
    np.testing.assert_array_equal(found.rows, rows)
    assert found.lengths.tolist() == [1] * len(rows)


def test_several_rows_a_sample() -> None:
    rows = np.arange(12.0).reshape(4, 3)
    found = unpack_samples(pack_samples(PerSample(rows, np.array([0, 3, 1]))))
    np.testing.assert_array_equal(found.rows, rows)
    assert found.lengths.tolist() == [0, 3, 1]


@pytest.mark.parametrize(
    ("number", "kind"), [(1, "int8"), (300, "int32"), (0.5, "float32"), (0.1, "float64")]
)
def test_the_narrowest_type_is_taken(number: float, kind: str) -> None:
    packed = pack_samples(PerSample(np.array([[number]]), np.array([1])))
    assert packed.rows.type == kind


GOOD = pack_samples(PerSample(np.arange(6.0).reshape(3, 2), np.array([1, 2, 0])))
BOMB = base64.b64encode(zlib.compress(bytes(10**7), 9)).decode()


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (replace(GOOD, rows=replace(GOOD.rows, rows=4)), "another length"),
        (replace(GOOD, rows=replace(GOOD.rows, rows=-1)), "-1 rows"),
        (replace(GOOD, rows=replace(GOOD.rows, columns=0)), "rows of 0 numbers"),
        (replace(GOOD, rows=replace(GOOD.rows, rows=10**12)), "has 1000000000000 rows"),
        (replace(GOOD, rows=replace(GOOD.rows, data="?")), "damaged"),
        (replace(GOOD, rows=replace(GOOD.rows, data="AAAA")), "damaged"),
        (replace(GOOD, rows=replace(GOOD.rows, data=BOMB)), "another length"),
        (replace(GOOD, lengths=GOOD.rows), "do not belong"),
        (
            PackedSamples(
                GOOD.rows, pack_samples(PerSample(np.array([[2.0], [2]]), np.array([1, 1]))).rows
            ),
            "do not belong",
        ),
        (
            replace(
                pack_samples(PerSample(np.array([[math.nan]]), np.array([1]))),
                lengths=Packed(1, 1, "int8", base64.b64encode(zlib.compress(b"\1")).decode()),
            ),
            "no number",
        ),
    ],
)
def test_what_was_changed_is_said(damaged: PackedSamples, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack_samples(damaged)
