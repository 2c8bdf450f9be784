"""The order of what is timed: whatever disturbs a process comes last."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.measured import PlainModel, Samples, lined_up, make_samples
from trtqat.errors import InferenceError
from trtqat.evaluation import measure, throughput
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.intervals import Interval
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.report import Report
from trtqat.evaluation.speed import measure_speed
from trtqat.evaluation.throughput import faster
from trtqat.evaluation.timing import LatencyOptions, Throughput
from trtqat.host.environment import describe_environment
from trtqat.report.main_table import main_table
from trtqat.runtime.protocol import Session
from trtqat.tensors import Array, Arrays, TensorSpec

QUICK = LatencyOptions(0, 0)
X, _ = make_samples(20)


class NotingModel(PlainModel):
    """A model on a GPU; what is asked of it goes into a list that several share."""

    device: Literal["cpu", "cuda"] = "cuda"
    inputs = (TensorSpec("x", (-1, 7)),)
    outputs = (TensorSpec("y", (-1, 7)),)
    size_bytes = 1
    batch_range = (1, None)

    def __init__(self, notes: list[tuple[str, bool]]) -> None:
        self.notes = notes
        self.open = 0

    def session(self, batch_size: int) -> Session:
        return NotingSession(self, own_stream=False)

    def session_on_own_stream(self, batch_size: int) -> Session:
        return NotingSession(self, own_stream=True)

    def close(self) -> None:
        raise AssertionError("it belongs to the caller")


class NotingSession:
    mode = "noted"
    enqueue_times_ms: tuple[float, ...] = ()

    def __init__(self, model: NotingModel, *, own_stream: bool) -> None:
        self._model, self._own_stream = model, own_stream
        model.open += 1

    def _note(self, what: str) -> None:
        self._model.notes.append((what, self._own_stream))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self._note("run")
        return {"y": inputs["x"]}

    def load(self, inputs: Arrays) -> None:
        self._note("load")

    def compute_times_ms(self, count: int) -> list[float]:
        self._note("compute")
        return [1.0] * count

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        self._note("transfer")
        return [], []

    def close(self) -> None:
        self._model.open -= 1


def options(in_flight: int) -> EvaluateOptions:
    return EvaluateOptions(4, QUICK, sweep=(2, 8), in_flight=in_flight)


def test_streams_of_their_own_come_behind_everything_else() -> None:
    notes: list[tuple[str, bool]] = []
    models = [NotingModel(notes) for _ in range(3)]
    contenders = lined_up(models[0], models[1], rivals=[models[2]])
    found = measure_speed(contenders, Samples(X, None), options(3), QUICK)
    ways = [own_stream for _, own_stream in notes]
    assert ways == sorted(ways)
    assert {what for what, own_stream in notes if own_stream} == {"run"}
    assert {what for what, _ in notes} == {"load", "run", "compute", "transfer"}
    assert [model.open for model in models] == [0, 0, 0]
    for timings in found.timings.values():
        assert [each.batch_size for each in timings] == [2, 4, 8]
        for each in timings:
            assert each.timing.throughput is not None
            assert each.timing.throughput.otherwise_per_second is not None


def test_one_query_at_a_time_has_nothing_beside_it() -> None:
    notes: list[tuple[str, bool]] = []
    found = measure_speed(lined_up(NotingModel(notes)), Samples(X, None), options(1), QUICK)
    assert not any(own_stream for _, own_stream in notes)
    ((_, timing, _),) = (timings for timings in found.timings.values())
    assert timing.timing.throughput is not None
    assert timing.timing.throughput.compute_streams == 1
    assert timing.timing.throughput.otherwise_per_second is None


def test_what_fails_on_several_streams_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(model: NotingModel, batch_size: int) -> Session:
        raise InferenceError("no memory")

    monkeypatch.setattr(NotingModel, "session_on_own_stream", fails)
    found = measure_speed(lined_up(NotingModel([])), Samples(X, None), options(3), QUICK)
    (timings,) = found.timings.values()
    for each in timings:
        assert each.timing.throughput is not None
        assert each.timing.throughput.compute_streams == 1
        assert each.timing.throughput.otherwise_per_second is None
        assert f"at batch {each.batch_size} were not timed: no memory" in caplog.text


def rated(rate: float, spread: float, streams: int) -> Throughput:
    return Throughput(rate, Interval(rate - spread, rate + spread), 6, 48, 8, streams)


@given(
    st.floats(1, 1e6), st.floats(1, 1e6), st.floats(0, 1e5), st.floats(0, 1e5), st.integers(2, 12)
)
def test_several_streams_must_be_faster_beyond_the_intervals(
    one_rate: float, several_rate: float, one_spread: float, several_spread: float, count: int
) -> None:
    one, several = rated(one_rate, one_spread, 1), rated(several_rate, several_spread, count)
    found = faster(one, several)
    if several_rate - several_spread > one_rate + one_spread:
        assert (found.compute_streams, found.images_per_second) == (count, several_rate)
        assert found.otherwise_per_second == one_rate
    else:
        assert (found.compute_streams, found.images_per_second) == (1, one_rate)
        assert found.otherwise_per_second == several_rate


@pytest.mark.parametrize(
    ("one", "several", "cell"),
    [
        (100.0, 250.0, "3 (one: 400)"),
        (100.0, 90.0, "1 (several: 360)"),
    ],
)
def test_the_report_tells_which_was_chosen(
    one: float, several: float, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Subject and baseline, in eight turns each way.
    rates = itertools.chain(itertools.repeat(one, 16), itertools.repeat(several))
    monkeypatch.setattr(throughput, "steady_rate", lambda done: next(rates))
    here = describe_environment(with_gpu=False)
    monkeypatch.setattr(measure, "describe_environment", lambda *, with_gpu: here)
    notes: list[tuple[str, bool]] = []
    report = evaluate(
        NotingModel(notes),
        Samples(X, None),
        EvaluateOptions(4, QUICK, in_flight=3),
        baseline=NotingModel(notes),
    )
    assert report.subject.timings[0].images_per_second == 4 * max(one, several)
    assert isinstance(report, Report)
    rows = {row[0]: row[1:] for row in main_table(report)[1]}
    assert rows["with kernels on so many streams"] == [cell, cell]
