"""trtexec's summary, from times by hand."""

from __future__ import annotations

import pytest

from tests.support.measured import NumpyModel, Samples, make_samples
from trtqat.errors import UsageError
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.timing import LatencyOptions
from trtqat.evaluation.trtexec import from_times
from trtqat.report.trtexec_words import trtexec_summary
from trtqat.runtime.trtexec_loop import QueryTimes


def test_latency_is_the_sum_of_a_query() -> None:
    times = QueryTimes((1.0, 3.0), (2.0, 2.5), (0.5, 0.5), (0.01, 0.03), wall_s=0.01)
    found = from_times(times, "trtexec-10", "plain enqueue, transfers on, blocking wait")
    assert (found.latency.min_ms, found.latency.max_ms) == (3.5, 6.0)
    assert found.queries_per_second == 200.0
    lines = trtexec_summary(found).splitlines()
    assert lines[1] == "Throughput: 200 qps"
    assert lines[2] == (
        "Latency: min = 3.5 ms, max = 6 ms, mean = 4.75 ms, median = 4.75 ms, "
        "percentile(90%) = 6 ms, percentile(95%) = 6 ms, percentile(99%) = 6 ms"
    )
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "Throughput",
        "Latency",
        "Enqueue Time",
        "H2D Latency",
        "GPU Compute Time",
        "D2H Latency",
        "Total Host Walltime",
        "Total GPU Compute Time",
    ]
    assert lines[-1] == "Total GPU Compute Time: 0.0045 s"


def test_without_transfers_latency_is_computing() -> None:
    times = QueryTimes((), (2.0, 2.5), (), (0.01, 0.03), wall_s=0.01)
    found = from_times(times, "trtexec-11", "CUDA graph, transfers off, spin wait")
    assert found.latency == found.compute
    assert (found.h2d, found.d2h) == (None, None)
    assert "H2D" not in trtexec_summary(found)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_it_needs_an_engine_and_a_duration(device: str) -> None:
    model = NumpyModel()
    model.device = "cuda" if device == "cuda" else "cpu"
    latency = LatencyOptions(0, 0) if device == "cpu" else None
    data = Samples(make_samples(9)[0], None)
    with pytest.raises(UsageError, match="trtexec times engines"):
        evaluate(model, data, EvaluateOptions(8, LatencyOptions(0, 0), like="trtexec-11"))
    with pytest.raises(UsageError, match="trtexec times engines"):
        evaluate(model, data, EvaluateOptions(8, latency, like="trtexec-11"))
