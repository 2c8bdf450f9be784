"""Throughput: the rate of a pipeline that is full, whatever its turn is long."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.evaluation.throughput import steady_rate


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
