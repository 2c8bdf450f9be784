"""The fastest engine within an accuracy target, by made-up counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from trtqat.search.speed.forms import Candidate, Form
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.strategy import Found
from trtqat.search.speed.trials import Tried
from trtqat.search.speed.tune_log import Count
from trtqat.search.speed.within_target import Counted, Score, Valued, fastest_within
from trtqat.typed_json import as_fields, json_text, parse_json, read_as

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


@pytest.mark.parametrize(
    ("value", "higher_is_better", "drop", "is_held"),
    [
        (79.5, True, 0.5, True),
        (79.4, True, 0.5, False),
        (90.0, True, 0.0, True),
        (80.4, False, 0.5, True),
        (80.6, False, 0.5, False),
        (70.0, False, 0.0, True),
        (math.nan, True, 50.0, False),
        (math.nan, False, 50.0, False),
    ],
)
def test_a_metric_is_compared_by_its_value(
    value: float, higher_is_better: bool, drop: float, is_held: bool
) -> None:
    one = Valued("it", value, "", higher_is_better)
    scores = {
        SOME.assignment: one,
        frozenset(): one,
        ALL: Valued("it", 80.0, "", higher_is_better),
    }
    answer = fastest_within(found(SOME), PLAIN, drop, lambda each: scores[each.assignment])
    assert answer == (SOME if is_held else PLAIN)


@pytest.mark.parametrize("score", [Counted(3, 4), Valued("mse", math.inf, "", False)])
def test_either_score_is_read_again_from_the_log(score: Score) -> None:
    count = Count(Candidate((1,), Form()), score, 2.0)
    assert read_as(Count, parse_json(json_text(as_fields(count)).encode())) == count


def test_the_target_is_taken_as_it_was_written() -> None:
    """29 of 10,000 are 0.29 points, though not in binary."""
    counts = {SOME.assignment: Counted(7971, 10_000), ALL: Counted(8000, 10_000)}
    assert fastest_within(found(SOME), PLAIN, 0.29, lambda each: counts[each.assignment]) == SOME


def test_engines_without_any_error_are_within() -> None:
    exact = Valued("psnr", math.inf, "dB", higher_is_better=True)
    assert fastest_within(found(SOME), PLAIN, 0.0, lambda _: exact) == SOME
    wrong = Valued("mse", math.inf, "", higher_is_better=False)
    assert fastest_within(found(SOME), PLAIN, 0.0, lambda _: wrong) == PLAIN
