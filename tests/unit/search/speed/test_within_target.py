"""The fastest engine within an accuracy target, by made-up counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.strategy import Found, Tried
from trtqat.search.speed.within_target import Counted, fastest_within

ALL = frozenset({0, 1, 2})


def tried(floats: set[int] | Assignment, time_ms: float) -> Tried:
    return Tried(frozenset(floats), time_ms, {})


INT8, SOME, MORE, PLAIN = tried({*()}, 1.2), tried({0}, 1.0), tried({0, 1}, 1.1), tried(ALL, 1.5)


@dataclass
class Counter:
    """Counts, and which engines were asked for."""

    right: dict[Assignment, int]
    asked: list[Assignment] = field(default_factory=list)

    def __call__(self, engine: Tried) -> Counted:
        self.asked.append(engine.assignment)
        return Counted(self.right[engine.assignment], 1000)


def found(best: Tried, *others: Tried) -> Found:
    return Found(best, (INT8, PLAIN), (INT8, PLAIN, best, *others), True)


@pytest.mark.parametrize(
    ("drop", "answer"),
    [(2.0, SOME), (1.9, MORE), (0.5, MORE), (0.4, INT8), (0.1, INT8), (0.0, PLAIN)],
)
def test_the_fastest_within_the_target_is_taken(drop: float, answer: Tried) -> None:
    counts = Counter({INT8.assignment: 799, SOME.assignment: 780, MORE.assignment: 795, ALL: 800})
    assert fastest_within(found(SOME, MORE), PLAIN, drop, counts) == answer


def test_no_engine_is_counted_that_is_slower_than_the_answer() -> None:
    counts = Counter({SOME.assignment: 795, ALL: 800})
    assert fastest_within(found(SOME, MORE), PLAIN, 0.5, counts) == SOME
    assert counts.asked == [ALL, SOME.assignment]


def test_what_is_more_accurate_is_within() -> None:
    counts = Counter({SOME.assignment: 801, ALL: 800})
    assert fastest_within(found(SOME), PLAIN, 0.0, counts) == SOME


def test_floating_point_throughout_is_always_within() -> None:
    counts = Counter({ALL: 800})
    assert fastest_within(found(PLAIN), PLAIN, 0.0, counts) == PLAIN
    assert counts.asked == [ALL]


def test_the_fastest_in_turns_comes_first_whatever_its_time() -> None:
    slow = tried({1}, 1.01)
    counts = Counter({slow.assignment: 800, ALL: 800})
    assert fastest_within(found(slow, SOME), PLAIN, 0.0, counts) == slow


def test_the_target_is_taken_as_it_was_written() -> None:
    """29 of 10,000 are 0.29 points, though not in binary."""
    counts = {SOME.assignment: Counted(7971, 10_000), ALL: Counted(8000, 10_000)}
    assert fastest_within(found(SOME), PLAIN, 0.29, lambda each: counts[each.assignment]) == SOME
