from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtqat.evaluation.intervals import (
    Interval,
    few_interval,
    median_interval,
    median_ratio,
    paired_p_value,
    share_interval,
    turns_interval,
)

TIMES = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=200)


@settings(max_examples=50, deadline=None)
@given(TIMES)
def test_the_interval_lies_among_the_times(times: list[float]) -> None:
    interval = median_interval(times)
    assert min(times) <= interval.low <= interval.high <= max(times)
    assert interval == median_interval(times)


def covered(times: np.ndarray, median: float) -> bool:
    interval = median_interval(list(times))
    return interval.low <= median <= interval.high


def test_it_covers_the_median_95_times_of_100() -> None:
    random = np.random.default_rng(0)
    hits = sum(covered(random.exponential(size=200), np.log(2)) for _ in range(300))
    assert 0.90 <= hits / 300 <= 0.99


def test_it_is_wider_for_times_that_drift() -> None:
    """Each time close to the one before: as many independent ones as there are drifts."""
    random = np.random.default_rng(1)
    noise = random.normal(size=1000)
    walk = np.convolve(noise, np.ones(20) / 20, mode="same")
    drifting = median_interval(list(10 + walk))
    shuffled = median_interval(list(10 + random.permutation(walk)))
    assert drifting.high - drifting.low > 1.5 * (shuffled.high - shuffled.low)


@given(st.lists(TIMES, min_size=2, max_size=6))
def test_turns_are_drawn_with_all_of_their_times(turns: list[list[float]]) -> None:
    drawn = np.random.default_rng(0).integers(0, len(turns), (400, len(turns)))
    medians = [np.median(np.concatenate([turns[at] for at in each])) for each in drawn]
    found = turns_interval(turns)
    assert [found.low, found.high] == pytest.approx(np.percentile(medians, [2.5, 97.5]))


def test_one_turn_is_a_run() -> None:
    times = list(np.random.default_rng(0).exponential(size=100))
    assert turns_interval([times]) == median_interval(times)


@pytest.mark.parametrize(("turns", "queries"), [(30, 20), (10, 50)])
def test_turns_that_differ_are_as_many_times_as_there_are_turns(turns: int, queries: int) -> None:
    """Levels a hundredth apart, around which times scatter half as much; blocks held 48 of 100."""
    random = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        levels = random.normal(1, 0.01, (turns, 1))
        found = turns_interval(levels * random.normal(1, 0.005, (turns, queries)))  # type: ignore[arg-type]
        held += found.low <= 1 <= found.high
    assert 87 <= held <= 99


def test_what_slows_both_down_cancels_in_the_ratio() -> None:
    random = np.random.default_rng(2)
    clock = random.uniform(1, 2, 20)
    faster = [[each * t for t in random.normal(1, 0.01, 30)] for each in clock]
    slower = [[3 * each * t for t in random.normal(1, 0.01, 30)] for each in clock]
    ratio = median_ratio(slower, faster)
    interval = ratio.interval
    assert interval.low <= 3 <= interval.high
    assert ratio.value == pytest.approx(3, rel=0.05)
    # The turns differ by a factor of two; the ratio is known far better than that.
    assert interval.high - interval.low < 0.75


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=8))
def test_the_ratio_lies_in_its_interval(turns: list[tuple[list[float], list[float]]]) -> None:
    slower, faster = ([each[side] for each in turns] for side in (0, 1))
    ratio = median_ratio(slower, faster)
    assert ratio.interval.low <= ratio.value <= ratio.interval.high
    assert ratio.turns == len(turns)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_interval_holds_the_share(counts: tuple[int, int]) -> None:
    hits, count = counts
    interval = share_interval(hits, count)
    assert 0 <= interval.low <= hits / count + 1e-12
    assert hits / count - 1e-12 <= interval.high <= 1


def test_share_interval_against_known_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for hits, count, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        interval = share_interval(hits, count)
        assert interval.low == pytest.approx(low, abs=5e-5)
        assert interval.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),
        (6, 0, 2 / 64),
        (8, 2, 2 * 56 / 1024),
        (2, 8, 0.109375),
    ],
)
def test_paired_counts(lost: int, gained: int, p: float) -> None:
    assert paired_p_value(lost, gained) == pytest.approx(p)


def test_thousands_of_changed_images() -> None:
    assert paired_p_value(3000, 3000) == 1.0
    assert paired_p_value(3000, 2000) < 1e-40


def test_words() -> None:
    assert str(Interval(0.1, 12.34567)) == "0.100 … 12.346"


@pytest.mark.parametrize(("count", "ends"), [(1, 0), (5, 0), (8, 0), (9, 1), (20, 5)])
def test_few_values(count: int, ends: int) -> None:
    values = list(np.random.default_rng(0).permutation(count).astype(float))
    assert few_interval(values) == Interval(float(ends), float(count - 1 - ends))


def test_few_values_hold_the_median_95_times_of_100() -> None:
    random = np.random.default_rng(0)
    for count in (6, 8, 12, 30):
        found = [few_interval(list(random.exponential(size=count))) for _ in range(1000)]
        assert sum(each.low <= np.log(2) <= each.high for each in found) >= 940
