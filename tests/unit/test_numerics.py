from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.numerics import difference, lost_db, sqnr_db
from trtqat.tensors import Array


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [(100.0, 1.0, 20.0), (1.0, 1.0, 0.0), (1.0, 1e3, -30.0), (2.0, 1.0, 3.010299956639812)],
)
def test_sqnr(signal: float, noise: float, expected: float) -> None:
    assert sqnr_db(signal, noise) == pytest.approx(expected)


def test_sqnr_at_the_ends() -> None:
    assert sqnr_db(1.0, 0.0) == sqnr_db(0.0, 0.0) == math.inf
    assert sqnr_db(0.0, 1.0) == -math.inf
    for signal, noise in [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, math.inf)]:
        assert math.isnan(sqnr_db(signal, noise))


def test_known_difference() -> None:
    reference = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    found = difference(reference, np.array([[3.0, 4.0], [0.5, 0.0]], np.float32))
    assert found.sqnr_db == pytest.approx(20.0)
    assert found.worst == 0.5
    assert found.worst_index == (1, 0)


def test_equal_and_empty() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert difference(x, x.copy()).sqnr_db == math.inf
    assert difference(x, x.copy()).worst == 0
    empty = difference(np.zeros((0, 3)), np.zeros((0, 3)))
    assert (empty.sqnr_db, empty.worst, empty.worst_index) == (math.inf, 0.0, ())


def test_scalars() -> None:
    found = difference(np.float32(10).reshape(()), np.float32(9).reshape(()))
    assert (found.sqnr_db, found.worst, found.worst_index) == (20.0, 1.0, ())


@pytest.mark.parametrize("position", [0, 1])
def test_nan_shows(position: int) -> None:
    arrays = [np.array([1.0, 2.0]), np.array([1.0, 2.0])]
    arrays[position][1] = np.nan
    found = difference(*arrays)
    assert math.isnan(found.sqnr_db)
    assert math.isnan(found.worst)
    assert found.worst_index == (1,)


def test_infinity_shows() -> None:
    found = difference(np.array([1.0, 2.0]), np.array([1.0, np.inf]))
    assert math.isnan(found.sqnr_db)
    assert found.worst == math.inf


def test_the_same_infinity_is_agreement() -> None:
    masked = np.array([3.0, 4.0, -np.inf])
    assert difference(masked, masked.copy()).sqnr_db == math.inf
    found = difference(masked, np.array([3.0, 4.5, -np.inf]))
    assert found.sqnr_db == pytest.approx(20.0)
    assert (found.worst, found.worst_index) == (0.5, (1,))
    for other in (0.0, np.inf, np.nan):
        assert math.isnan(difference(masked, np.array([3.0, 4.0, other])).sqnr_db)


@pytest.mark.parametrize(
    ("reference", "actual", "worst"),
    [
        (np.array([250], np.uint8), np.array([255], np.uint8), 5.0),
        (np.array([-128], np.int8), np.array([127], np.int8), 255.0),
        (np.array([60000], np.float16), np.array([-60000], np.float16), 120000.0),
        (np.array([True, False]), np.array([False, False]), 1.0),
    ],
)
def test_narrow_types_do_not_wrap(reference: Array, actual: Array, worst: float) -> None:
    assert difference(reference, actual).worst == worst


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(2, 1\) and \(2,\)"):
        difference(np.zeros((2, 1)), np.zeros(2))


NOISE = st.floats(-50, 150) | st.sampled_from([math.nan, math.inf, -math.inf])


@given(NOISE, st.lists(NOISE, max_size=4), st.sampled_from([45.0, 60.0]))
def test_what_is_lost_is_never_negative_and_never_blamed_twice(
    own: float, before: list[float], lossless: float
) -> None:
    lost = lost_db(own, before, lossless)
    assert lost >= 0
    if any(math.isnan(each) or each == -math.inf for each in before):
        assert lost == 0
    elif math.isnan(own):
        assert lost == math.inf
    elif math.isfinite(own):
        assert lost == pytest.approx(max(0, min([lossless, *before]) - own))
    assert lost == lost_db(own, before[::-1], lossless)
