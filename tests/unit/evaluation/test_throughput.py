"""Throughput: the rate of a pipeline that is full, whatever its turn is long."""

from __future__ import annotations

import heapq
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.measured import make_samples
from tests.support.slow_model import SlowModel
from trtqat.evaluation import throughput
from trtqat.evaluation.sessions import open_sessions
from trtqat.evaluation.throughput import steady_rate
from trtqat.evaluation.timing import LatencyOptions


def simulate(sessions: int, host_s: float, gpu_s: float, end_s: float) -> list[list[float]]:
    """Each query is prepared by its own session, and computed when the GPU is free."""
    done: list[list[float]] = [[] for _ in range(sessions)]
    ready = [(host_s, index) for index in range(sessions)]
    free = 0.0
    while ready:
        at, index = heapq.heappop(ready)
        free = max(free, at) + gpu_s
        done[index].append(free)
        if free < end_s or len(done[index]) < 4:
            heapq.heappush(ready, (free + host_s, index))
    return done


@given(
    st.integers(1, 12), st.floats(1e-4, 0.05), st.floats(1e-4, 0.05), st.sampled_from([0.06, 0.4])
)
def test_filling_the_pipeline_does_not_count(
    sessions: int, host_s: float, gpu_s: float, end_s: float
) -> None:
    ideal = min(1 / gpu_s, sessions / (host_s + gpu_s))
    found = steady_rate(simulate(sessions, host_s, gpu_s, end_s))
    assert found == pytest.approx(ideal, rel=0.001)


def test_counting_the_filling_would_be_far_off() -> None:
    done = simulate(6, 0.012, 0.006, 0.0625)
    queries = sum(map(len, done))
    assert queries / max(map(max, done)) < 0.93 / 0.006
    assert steady_rate(done) == pytest.approx(1 / 0.006)


def test_queries_that_end_together() -> None:
    """As those of kernels that share the GPU."""
    done = [[0.1 * turn + 1e-4 * session for turn in range(1, 5)] for session in range(6)]
    assert steady_rate(done) == pytest.approx(60)


@given(st.integers(1, 8), st.randoms(use_true_random=False), st.sampled_from([0.06, 0.4]))
def test_never_more_than_the_gpu_computes(sessions: int, random: Random, end_s: float) -> None:
    """Also where one session is served again and again before another one is at all."""
    gpu_s = 0.01
    done: list[list[float]] = [[] for _ in range(sessions)]
    now = 0.0
    while any(not times or len(times) < 4 or times[-1] < end_s for times in done):
        waiting = [times for times in done if len(times) < 4 or times[-1] < end_s]
        now += gpu_s
        random.choice(waiting).append(now)
    assert steady_rate(done) <= 1.001 / gpu_s


def test_sessions_one_after_the_other() -> None:
    assert steady_rate([[1, 2, 3, 4], [5, 6, 7, 8]]) == pytest.approx(1)


def test_images_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "steady_rate", lambda done: 10.0)
    x, _ = make_samples(4)
    (found,) = throughput.measure_throughput(
        open_sessions([SlowModel()], 4, 2), {"x": x}, LatencyOptions(0, 0)
    )
    assert found.images_per_second == found.interval.low == found.interval.high == 40.0
