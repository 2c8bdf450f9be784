"""Figures with their units say no more than they are."""

from __future__ import annotations

import pytest

from trtqat.report.wording import hundredths, percent, share, signed


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (0.00012, "0.012 %"),
        (0.012, "1.2 %"),
        (0.124, "12 %"),
        (0.994, "99 %"),
        # What is not all of it is not 100 %.
        (0.9951, "99.5 %"),
        (0.9996, "99.9 %"),
        (0.999_999, "99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_a_share_is_all_where_it_is_all(part: float, said: str) -> None:
    assert percent(part) == said


def test_a_count_is_all_where_it_is_all() -> None:
    assert share(49_999, 50_000) == "99.99 % (49999/50000)"
    assert share(50_000, 50_000) == "100.00 % (50000/50000)"
    assert share(1, 50_000) == "0.002 % (1/50000)"
    assert share(0, 50_000) == "0.00 % (0/50000)"
    assert (hundredths(99.996), hundredths(99.994), hundredths(100.004)) == (
        "99.99",
        "99.99",
        "100.00",
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.00"),
        (-1e-15, "0.00"),
        # As one wrong character of 30,000.
        (0.003_333, "0.0033"),
        (-0.000_12, "-0.00012"),
        (0.004_999, "0.005"),
        (0.005_1, "0.01"),
    ],
)
def test_a_figure_is_zero_where_it_is_zero(value: float, said: str) -> None:
    assert hundredths(value) == said


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (0.0, "0.00"),
        (1e-15, "0.00"),
        (-0.25, "-0.25"),
        # What is a difference is not zero.
        (-0.002, "-0.002"),
        (0.00456, "+0.005"),
    ],
)
def test_a_difference_is_zero_where_it_is_zero(difference: float, said: str) -> None:
    assert signed(difference) == said
