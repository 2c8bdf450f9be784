"""Timing in processes of their own: who is where, what is opened when, and what may go wrong."""

from __future__ import annotations

import inspect
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.support import apart_functions
from tests.support.apart_models import NotingModel, read_notes
from tests.support.measured import NumpyModel, Samples, lined_up, make_samples
from tests.support.rtx_card import Card
from trtqat.apart import call_apart
from trtqat.errors import InferenceError
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.latency import time_in_turns
from trtqat.evaluation.open_pytorch import open_pytorch
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.speed import measure_speed
from trtqat.evaluation.throughput import rate_in_turns
from trtqat.evaluation.timed_apart import TimingPlaces
from trtqat.evaluation.timing import LatencyOptions
from trtqat.exporting.source import ModelSource
from trtqat.runtime.engine import Engine

QUICK = LatencyOptions(0, 0)
X, _ = make_samples(20)
BATCH = {"x": np.ones((4, 7), np.float32)}


@pytest.fixture(autouse=True)
def parent(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("NOTING_PARENT", str(os.getpid()))
    return os.getpid()


def noting(folder: Path, name: str, **options: object) -> NotingModel:
    (folder / name).mkdir()
    return NotingModel(folder / name, **options)  # type: ignore[arg-type]


def test_each_model_has_a_process_and_they_take_turns(tmp_path: Path, parent: int) -> None:
    models = [noting(tmp_path, "one"), noting(tmp_path, "two", most=2)]
    with TimingPlaces(models) as places, places.open(BATCH, 4, 3) as timed:
        (one, two), (ratio,) = time_in_turns(timed, QUICK)
        rates = rate_in_turns(timed, 4, QUICK)
    for timing in (one, two):
        assert timing.mode == "noted"
        assert timing.own_process
        assert timing.compute.median_ms == 2.0
        assert timing.enqueue is not None
        assert timing.enqueue.median_ms == 0.5
        assert timing.h2d is not None
        assert timing.d2h is None
    assert ratio.value == 1.0
    # As many of each as the one opens that opens fewest.
    assert [rate.in_flight for rate in rates] == [2, 2]
    processes = set()
    for model in models:
        notes = read_notes(model.notes)
        apart = [(what, number) for pid, what, number in notes if pid != parent]
        processes |= {pid for pid, _, _ in notes}
        first_query = next(i for i, (what, _) in enumerate(apart) if what in ("run", "compute"))
        assert not any(what == "session" for what, _ in apart[first_query:])
        # The very inputs.
        assert ("load", 28) in apart
        assert {number for what, number in apart if what == "run"} == {4}
        assert [what for pid, what, _ in notes if pid == parent] == ["open"]
    assert len(processes) == 3


def test_an_engine_has_a_new_process_for_each_batch_and_other_models_keep_theirs(
    tmp_path: Path, parent: int
) -> None:
    engine, model = noting(tmp_path, "engine", is_engine=True), noting(tmp_path, "pytorch")
    options = EvaluateOptions(4, QUICK, sweep=(2, 8), in_flight=3)
    found = measure_speed(lined_up(engine, model), Samples(X, None), options, QUICK)
    subject, other = found.timings
    assert [each.timing.own_process for each in found.timings[subject]] == [True] * 3
    for each in (engine, model):
        notes = [note for note in read_notes(each.notes) if note[0] != parent]
        opened = [number for _, what, number in notes if what == "session"]
        assert opened == [2] * 3 + [4] * 3 + [8] * 3
        own = [number for _, what, number in notes if what == "own"]
        assert own == opened
        assert len({pid for pid, _, _ in notes}) == (6 if each is engine else 1)
    assert [each.seconds for each in found.compilations[subject]] == [1.5]
    assert found.compilations[other] == ()


def test_what_another_process_does_not_open_is_timed_here(
    tmp_path: Path, parent: int, caplog: pytest.LogCaptureFixture
) -> None:
    refused, kept = noting(tmp_path, "refused", fails="open"), noting(tmp_path, "kept")
    in_memory = noting(tmp_path, "in_memory")
    in_memory.reopen = None
    lost = noting(tmp_path, "lost")
    lost.reopen = lambda: lost
    caplog.clear()
    with TimingPlaces([refused, kept, in_memory, lost]) as places:
        for _ in range(2):
            with places.open(BATCH, 4, 2) as timed:
                timings, _ = time_in_turns(timed, QUICK)
            assert [each.own_process for each in timings] == [False, True, False, False]
            assert [each.compute.median_ms for each in timings] == [1.0, 2.0, 1.0, 1.0]
    told = [record.getMessage() for record in caplog.records]
    # Each once, and not what a model logs each time it is opened.
    assert len(told) == 2
    assert "'refused' is timed in this process" in " ".join(told)
    assert "It does not. Let it." in " ".join(told)
    assert "it cannot be sent there" in " ".join(told)
    assert len({pid for pid, _, _ in read_notes(refused.notes)} - {parent}) == 1


def test_a_process_that_ends_is_an_error_that_names_the_model(tmp_path: Path) -> None:
    model = noting(tmp_path, "model", fails="run!")
    with (
        pytest.raises(InferenceError, match=r"'model' was not timed: .* ended by SIGKILL"),
        TimingPlaces([model]) as places,
        places.open(BATCH, 4, 1) as timed,
    ):
        time_in_turns(timed, QUICK)


def test_no_session_at_all(tmp_path: Path) -> None:
    model = noting(tmp_path, "model", most=0)
    with (
        pytest.raises(InferenceError, match="No further session"),
        TimingPlaces([model]) as places,
        places.open(BATCH, 4, 1),
    ):
        raise AssertionError("nothing to time")


def test_a_report_says_where_it_was_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trtqat.evaluation import measure
    from trtqat.host.environment import describe_environment

    here = describe_environment(with_gpu=False)
    monkeypatch.setattr(measure, "describe_environment", lambda *, with_gpu: here)
    model = noting(tmp_path, "model")
    report = evaluate(model, Samples(X, None), EvaluateOptions(4, QUICK, in_flight=2))
    assert report.subject.timings[0].timing.own_process is True


def test_a_pytorch_model_opens_again_elsewhere(tmp_path: Path) -> None:
    """With its arguments and weights, relative to where the command was called."""
    factory = tmp_path / "m.py"
    factory.write_text(
        "import torch\n"
        "def linear(bias=True):\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Linear(7, 7, bias=bias)\n"
    )
    source = ModelSource(f"{factory}:linear", factory_args={"bias": False})
    model = open_pytorch(source, NumpyModel(), name="Elsewhere")
    assert model.reopen is not None
    inputs = {"x": np.ones((3, 7), np.float32)}
    name, found = call_apart(apart_functions.run_reopened, model.reopen, inputs)
    with model.session(3) as session:
        (here,) = session.run(inputs).values()
    assert name == model.name == "Elsewhere FP32"
    (there,) = found.values()
    assert np.array_equal(there, here)


def test_an_engine_says_how_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch)
    options = {"cuda_graph": False, "runtime_cache": "none", "graph": tmp_path / "m.onnx"}
    with Engine(tmp_path / "m.engine", **options) as engine:  # type: ignore[arg-type]
        engine.choose_sizes({"x": (3,)})
        again, sizes = pickle.loads(pickle.dumps(engine.reopen)).args
    assert sizes == {"x": (3,)}
    assert (again.func, again.args) == (Engine, (tmp_path / "m.engine",))
    assert options.items() <= again.keywords.items()
    parameters = set(inspect.signature(Engine).parameters)
    assert parameters == {"path", *again.keywords}
