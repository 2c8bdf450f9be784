"""Figures with their units say no more than they are."""

from __future__ import annotations

import pytest

from trtqat.report.wording import percent


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
