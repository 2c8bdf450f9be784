from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import Clock
from trtqat.evaluation.intervals import Interval
from trtqat.evaluation.latency import measure_in_turns, measure_latency, summarize
from trtqat.evaluation.timing import LatencyOptions
from trtqat.tensors import Array, Arrays

TIMES = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=300)


@given(TIMES)
def test_against_numpy(times: list[float]) -> None:
    found = summarize(times)
    assert found.count == len(times)
    assert found.median_ms == pytest.approx(float(np.median(times)))
    assert found.mean_ms == pytest.approx(float(np.mean(times)))
    assert (found.min_ms, found.max_ms) == (min(times), max(times))


@given(TIMES)
def test_statistics_ascend(times: list[float]) -> None:
    found = summarize(times)
    figures = [found.min_ms, found.median_ms, found.p90_ms, found.p95_ms, found.p99_ms]
    assert sorted([*figures, found.max_ms]) == [*figures, found.max_ms]
    assert {found.p90_ms, found.p95_ms, found.p99_ms} <= set(times)


@pytest.mark.parametrize(
    ("count", "p90", "p95", "p99"),
    [
        (1, 1, 1, 1),
        (10, 9, 10, 10),
        (20, 18, 19, 20),
        # In float32, as in trtexec, 1 - 0.99 is a little less than 0.01.
        (100, 90, 95, 100),
        (101, 91, 96, 100),
        (1000, 900, 950, 991),
    ],
)
def test_percentiles_as_trtexec(count: int, p90: int, p95: int, p99: int) -> None:
    found = summarize([float(i) for i in range(count, 0, -1)])
    assert (found.p90_ms, found.p95_ms, found.p99_ms) == (p90, p95, p99)


class CountingSession:
    mode = "counted"
    enqueue_times_ms: tuple[float, ...] = ()

    def __init__(self, first_ms: float = 20.0) -> None:
        self.calls: list[str] = []
        self.chunks: list[int] = []
        self.inputs: list[Arrays] = []
        self._first_ms = first_ms

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self.calls.append("run")
        self.inputs.append(inputs)
        return {}

    def load(self, inputs: Arrays) -> None:
        self.calls.append("load")
        self.inputs.append(inputs)

    def compute_times_ms(self, count: int) -> list[float]:
        self.calls.append("compute")
        self.chunks.append(count)
        # Cold until the warm-up's first query is over.
        return [self._first_ms * (5 if len(self.chunks) == 1 else 1)] * count

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        return [0.5] * count, []

    def close(self) -> None:
        raise AssertionError("it belongs to the caller")


class RealSession(CountingSession):
    """Takes the time that it says."""

    def __init__(self, clock: Clock, first_ms: float) -> None:
        super().__init__(first_ms)
        self._clock = clock

    def compute_times_ms(self, count: int) -> list[float]:
        times = super().compute_times_ms(count)
        self._clock.sleep(sum(times) / 1e3)
        return times

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self._clock.sleep(self._first_ms / 1e3)
        return super().run(inputs)


INPUTS = {"x": np.ones((2, 3), np.float32)}


def test_at_least_ten_queries_after_a_warm_up() -> None:
    session = CountingSession(first_ms=1000.0)
    timing = measure_latency(session, INPUTS, LatencyOptions(warm_up_ms=0, duration_s=0))
    assert session.calls[:2] == ["load", "compute"]
    assert session.chunks == [1] * 11
    # The cold first query counts for nothing.
    assert (timing.compute.count, timing.compute.max_ms) == (10, 1000.0)
    assert timing.request.count >= 10
    assert session.calls.count("run") == timing.request.count + 1
    assert timing.mode == "counted"
    assert all(given is INPUTS for given in session.inputs)


def test_queries_are_chunked_by_the_last_warm_up_query(clock: Clock) -> None:
    session = RealSession(clock, first_ms=5.0)
    timing = measure_latency(session, INPUTS, LatencyOptions(warm_up_ms=40, duration_s=0.5))
    warm_ups = session.chunks.count(1)
    # The cold query takes 25 of the 40 ms.
    assert warm_ups == 4
    assert set(session.chunks[warm_ups:]) == {20}
    assert timing.compute.count == 20 * (len(session.chunks) - warm_ups)
    # A tenth of a second each.
    assert timing.compute.count == 100
    assert timing.compute.max_ms == 5.0
    assert timing.request.median_ms == pytest.approx(5.0, abs=0.01)


def test_five_turns_however_short_the_duration_is(clock: Clock) -> None:
    model, other = RealSession(clock, first_ms=1.0), RealSession(clock, first_ms=2.0)
    options = LatencyOptions(warm_up_ms=0, duration_s=0.05)
    _, (ratio,) = measure_in_turns([model, other], INPUTS, options)
    # A fifth of 50 ms, by what the cold query took.
    assert {count for count in model.chunks if count != 1} == {2}
    assert ratio.turns is not None
    assert ratio.turns >= 5
    assert ratio.value == 2.0


def test_five_turns_of_queries_that_become_slower(clock: Clock) -> None:
    class Slow(CountingSession):
        """Takes far longer than its warm-up."""

        def compute_times_ms(self, count: int) -> list[float]:
            super().compute_times_ms(count)
            clock.sleep(0.02 if count > 1 else 0)
            return [0.2] * count

    model, other = Slow(), Slow()
    options = LatencyOptions(warm_up_ms=0, duration_s=0.01)
    _, (ratio,) = measure_in_turns([model, other], INPUTS, options)
    assert max(model.chunks) == 10
    assert ratio.turns == 5


def test_it_measures_for_the_duration(clock: Clock) -> None:
    session = RealSession(clock, first_ms=100.0)
    timing = measure_latency(session, INPUTS, LatencyOptions(warm_up_ms=0, duration_s=20))
    assert (timing.compute.count, timing.request.count) == (200, 200)


class Paced(CountingSession):
    """Takes the times that it is told, and launches as fast as it is told."""

    def __init__(self, times_ms: list[float], launch_ms: float, log: list[str], name: str) -> None:
        super().__init__()
        self._times, self._launch_ms, self._log, self._name = times_ms, launch_ms, log, name
        self.enqueue_times_ms = ()

    def compute_times_ms(self, count: int) -> list[float]:
        self._log.append(self._name)
        self.enqueue_times_ms = (self._launch_ms,) * count
        turn = self._log.count(self._name)
        return [self._times[turn % len(self._times)]] * count


QUICK = LatencyOptions(warm_up_ms=0, duration_s=0)


def test_two_sessions_take_turns() -> None:
    log: list[str] = []
    # A clock that slows down hits both: the ratio stays.
    model = Paced([100.0, 200.0, 400.0], 1.0, log, "model")
    baseline = Paced([300.0, 600.0, 1200.0], 1.0, log, "baseline")
    (mine, theirs), (ratio,) = measure_in_turns([model, baseline], INPUTS, QUICK)
    # Each warms up once; then a query that does not count comes before each turn.
    assert log == ["model", "baseline"] + ["model"] * 2 + ["baseline"] * 2 + log[6:]
    assert log[2:] == ["model", "model", "baseline", "baseline"] * mine.compute.count
    assert ratio.turns == mine.compute.count == theirs.compute.count
    assert ratio.interval.low == ratio.interval.high == pytest.approx(3.0)
    assert ratio.value == pytest.approx(3.0)


def test_one_session_has_no_ratio() -> None:
    timings, ratios = measure_in_turns([CountingSession()], INPUTS, QUICK)
    assert len(timings) == 1
    assert ratios == []


@pytest.mark.parametrize(("launch_ms", "bound"), [(100.0, True), (10.0, False)])
def test_enqueue_bound(launch_ms: float, bound: bool) -> None:
    timing = measure_latency(Paced([110.0], launch_ms, [], "m"), INPUTS, QUICK)
    assert timing.enqueue is not None
    assert timing.enqueue.median_ms == launch_ms
    assert any("Enqueue-bound" in each for each in timing.warnings) is bound


@pytest.mark.parametrize(("times", "unstable"), [([110.0], False), ([110.0, 150.0], True)])
def test_unstable_times(times: list[float], unstable: bool) -> None:
    timing = measure_latency(Paced(times, 1.0, [], "m"), INPUTS, QUICK)
    assert any("Unstable" in each for each in timing.warnings) is unstable
    assert timing.is_unstable is unstable


def test_what_does_not_become_stable_takes_twice_the_time(clock: Clock) -> None:
    options = LatencyOptions(warm_up_ms=0, duration_s=0.2)
    steady = Paced([110.0], 1.0, [], "steady")
    noise = np.random.default_rng(0).uniform(110, 190, 997)
    jumping = Paced(list(noise), 1.0, [], "jumping")
    counts = [
        measure_latency(_Slow(session, clock), INPUTS, options).compute.count
        for session in (steady, jumping)
    ]
    # At 5 ms a query.
    assert counts == [40, 80]


class Wandering(RealSession):
    """Takes another time in each turn."""

    def __init__(self, clock: Clock, levels_ms: list[float]) -> None:
        super().__init__(clock, levels_ms[0])
        self._levels_ms = levels_ms

    def compute_times_ms(self, count: int) -> list[float]:
        self._first_ms = self._levels_ms[len(self.chunks) % len(self._levels_ms)]
        return super().compute_times_ms(count)


def test_a_median_is_as_sure_as_its_turns_are_alike(clock: Clock) -> None:
    """Of one turn its twenty queries say nothing of what the next one is like."""
    options = LatencyOptions(warm_up_ms=40, duration_s=1)
    wandering, steady = (
        measure_latency(Wandering(clock, levels), INPUTS, options).compute
        for levels in ([4.9, 5.0, 5.1], [5.0])
    )
    assert (steady.count, steady.interval_ms) == (200, Interval(5.0, 5.0))
    # Not known to a hundredth in a second, and not in two.
    assert wandering.count >= 2 * steady.count
    assert wandering.interval_ms.high - wandering.interval_ms.low > 0.1


class _Slow:
    """Lets each query of another session take 5 ms of the wall clock."""

    def __init__(self, session: Paced, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self.mode = session.mode

    @property
    def enqueue_times_ms(self) -> tuple[float, ...]:
        return self._session.enqueue_times_ms

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self._clock.sleep(0.005)
        return self._session.run(inputs)

    def load(self, inputs: Arrays) -> None:
        self._session.load(inputs)

    def compute_times_ms(self, count: int) -> list[float]:
        self._clock.sleep(0.005)
        return self._session.compute_times_ms(count)

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        return self._session.transfer_times_ms(count)

    def close(self) -> None:
        self._session.close()
