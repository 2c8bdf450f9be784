"""The log of a search: nothing is done twice, not after an interruption either."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trtqat.errors import BuildError, InferenceError, TrtqatError
from trtqat.evaluation.intervals import Interval, Ratio
from trtqat.search.speed.forms import Candidate
from trtqat.search.speed.logged_trials import LoggedTrials
from trtqat.search.speed.points import Point
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.strategy import Found, search
from trtqat.search.speed.trials import SearchRegion
from trtqat.search.speed.tune_log import Measured, MeasuredTime, TuneLog, read_log
from trtqat.search.speed.within_target import Counted

COSTS = {True: (0.2, 0.1, 0.1, 0.3), False: (0.1, 0.2, 0.2, 0.1)}
REGIONS = [SearchRegion(str(place), 0.25, True) for place in range(4)]


class Killed(BaseException):
    """As a process that is killed: nobody catches it."""


@dataclass
class Bench:
    """A workshop of known costs, with a clock of its own."""

    now: float = 0.0
    killed_at: int | None = None
    made: list[Assignment] = field(default_factory=list)
    compared: int = 0
    counts: int = 0
    refused: Assignment | None = None
    error: TrtqatError = field(
        default_factory=lambda: BuildError("No implementation for node 'x'.", "Leave it out.")
    )

    def costs(self, assignment: Assignment) -> dict[int, float]:
        return {place: COSTS[place in assignment][place] for place in range(4)}

    def make(self, candidate: Candidate) -> Measured:
        assignment = frozenset(candidate.floats)
        if len(self.made) == self.killed_at:
            raise Killed
        self.made.append(assignment)
        self.now += 60
        if assignment == self.refused:
            raise self.error
        costs = self.costs(assignment)
        time_ms = sum(costs.values())
        return Measured({8: MeasuredTime(time_ms, Interval(time_ms, time_ms))}, {8: costs})

    def compare(self, one: Candidate, other: Candidate) -> dict[Point, Ratio]:
        self.compared += 1
        self.now += 1
        times = [sum(self.costs(frozenset(each.floats)).values()) for each in (one, other)]
        value = times[1] / times[0]
        return {8: Ratio(value, Interval(value * 0.99, value * 1.01), 9)}

    def count(self, candidate: Candidate) -> Counted:
        self.counts += 1
        self.now += 10
        return Counted(90 + len(candidate.floats), 100)


def trials(bench: Bench, path: Path, *, budget_s: float = 1e9, builds: int = 99) -> LoggedTrials:
    log = read_log(path, "graph")
    return LoggedTrials(bench, path, log, budget_s, builds, clock=lambda: bench.now)


def found(bench: Bench, path: Path) -> Found:
    result = search(REGIONS, trials(bench, path))
    assert result is not None
    return result


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, path = Bench(), tmp_path / "log.json"
    expected = found(whole, tmp_path / "whole.json")
    builds: list[Assignment] = []
    for killed_at in (1, 1, 1):
        bench = Bench(killed_at=killed_at)
        with pytest.raises(Killed):
            found(bench, path)
        builds += bench.made
        if len(builds) == len(whole.made) - 1:
            break
    last = Bench()
    assert found(last, path) == expected
    assert builds + last.made == whole.made
    assert expected.best.assignment == {1, 2}


def test_nothing_is_done_again_by_a_search_that_is_done(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    expected = found(Bench(), path)
    again = Bench()
    assert found(again, path) == expected
    assert (again.made, again.compared) == ([], 0)


def test_the_budget_counts_what_was_spent_before(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    first, unknown = trials(Bench(), path, budget_s=100), frozenset({2})
    first.run(frozenset())
    assert first.may_run(unknown)
    first.run(frozenset({0, 1, 2, 3}))
    assert not first.may_run(unknown)
    assert not trials(Bench(), path, budget_s=100).may_run(unknown)
    assert trials(Bench(), path, budget_s=200).may_run(unknown)
    assert not trials(Bench(), path, builds=2).may_run(unknown)


def test_what_does_not_build_is_logged_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    everything = frozenset(range(4))
    result = found(Bench(refused=everything), path)
    assert [each.assignment for each in result.ends] == [frozenset()]
    tries = json.loads(path.read_text())["tries"]
    (refused,) = [each for each in tries if each["time_ms"] is None]
    assert refused["floats"] == [0, 1, 2, 3]
    assert "No implementation for node 'x'" in refused["refused"]
    again = Bench()
    assert found(again, path) == result
    assert again.made == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"key": 1}', b"[]", b"\xff"])
def test_a_damaged_log_begins_anew(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(content)
    assert read_log(path, "graph") == TuneLog("graph")
    assert "begins anew" in caplog.text


def test_the_log_of_another_search_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    found(Bench(), path)
    assert read_log(path, "graph").tries
    assert read_log(path, "other") == TuneLog("other")


def test_a_search_that_its_budget_ended_goes_on_with_all_that_was_found(tmp_path: Path) -> None:
    """Killed behind its budget, as while the answer was measured, it loses none of its tries."""
    path = tmp_path / "log.json"
    whole = trials(Bench(), path, builds=3)
    expected = search(REGIONS, whole)
    assert expected is not None
    assert expected.best.assignment == {1, 2}
    again = Bench()
    assert search(REGIONS, trials(again, path, builds=3)) == expected
    assert search(REGIONS, trials(again, path, budget_s=1.0)) is not None
    assert (again.made, again.compared) == ([], 0)
    spent = search(REGIONS, trials(again, path, budget_s=1.0))
    assert spent is not None
    assert spent.best == expected.best


def test_what_cannot_be_run_is_passed_over_as_well(tmp_path: Path) -> None:
    error = InferenceError("Device memory is short.", "Take a smaller batch.")
    path = tmp_path / "log.json"
    result = found(Bench(refused=frozenset({1, 2}), error=error), path)
    assert result.best.assignment != {1, 2}
    again = Bench()
    assert found(again, path) == result
    assert again.made == []


def test_a_comparison_holds_in_both_directions(tmp_path: Path) -> None:
    bench = Bench()
    log = trials(bench, tmp_path / "log.json")
    one, other = log.run(frozenset()), log.run(frozenset({1}))
    assert one is not None
    assert other is not None
    ratio, back = log.ratio(one, other), log.ratio(other, one)
    assert bench.compared == 1
    assert back.value == pytest.approx(1 / ratio.value)
    assert back.interval.low == pytest.approx(1 / ratio.interval.high)
    assert back.interval.high == pytest.approx(1 / ratio.interval.low)


def test_counts_are_logged(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    bench = Bench()
    log = trials(bench, path)
    tried = log.run(frozenset({1}))
    assert tried is not None
    assert log.count(tried) == Counted(91, 100)
    again = trials(bench, path)
    assert again.count(tried) == Counted(91, 100)
    assert bench.counts == 1
    assert again.log.seconds == 70
