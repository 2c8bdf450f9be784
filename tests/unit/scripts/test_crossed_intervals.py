"""Intervals of figures that several seeds have over the same images."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.fashion_mnist.comparing import crossed_interval, student_quantile


class TestIntervals:
    @pytest.mark.parametrize(
        ("freedom", "quantile"),
        [(1, 12.706), (2, 4.3027), (10, 2.2281), (1e9, 1.961)],
    )
    def test_students_quantile_is_that_of_the_tables(self, freedom: float, quantile: float) -> None:
        assert student_quantile(freedom) == pytest.approx(quantile, rel=1e-3)

    def test_it_holds_the_truth_in_95_of_100(self) -> None:
        """Three seeds that differ by as much as chance among the images does."""
        generator = np.random.default_rng(0)
        held = 0
        for _ in range(100):
            seeds, images = generator.normal(0, 0.05, (3, 1)), generator.normal(0, 1, (1, 400))
            values = 0.3 + seeds + images + generator.normal(0, 1, (3, 400))
            _, interval = crossed_interval(values)
            held += interval.low <= 0.3 <= interval.high
        assert 88 <= held <= 100

    def test_seeds_that_agree_leave_the_images(self) -> None:
        once = (np.arange(400) % 4 == 0).astype(float)
        _, one = crossed_interval(once[None])
        mean, three = crossed_interval(np.stack([once] * 3))
        assert mean == 0.25
        assert (three.low, three.high) == pytest.approx((one.low, one.high))
        assert one.high - one.low == pytest.approx(2 * 1.966 * (0.25 * 0.75 / 399) ** 0.5, rel=1e-3)
