from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.measured import QUICK, NumpyModel, Samples, make_samples, speedups
from trtqat.errors import UsageError
from trtqat.evaluation.contenders import Measured
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.intervals import Interval
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.sweep import best_within, parse_batch_sizes
from trtqat.evaluation.timing import Throughput

X, LABELS = make_samples(20)
DATA = Samples(X, LABELS)


@pytest.mark.parametrize(
    ("text", "sizes"), [("32", (32,)), ("1,8,32", (1, 8, 32)), ("8, 1,8", (1, 8))]
)
def test_lists(text: str, sizes: tuple[int, ...]) -> None:
    assert parse_batch_sizes(text) == sizes


@pytest.mark.parametrize("text", ["", "0", "1,0", "-1", "a", "1;2", "1.5"])
def test_no_lists(text: str) -> None:
    with pytest.raises(UsageError, match="no list of batch sizes"):
        parse_batch_sizes(text)


def test_every_size_is_timed_and_one_gives_the_accuracy() -> None:
    model, baseline = NumpyModel(compute_ms=10.0), NumpyModel(compute_ms=20.0)
    options = EvaluateOptions(8, QUICK, sweep=(2, 4))
    report = evaluate(model, DATA, options, baseline=baseline)
    assert report.sweep == (2, 4, 8)
    assert [each.batch_size for each in report.subject.timings] == [2, 4, 8]
    # Accuracy in batches of 8, the last one of 4; then the sweep.
    assert model.sessions == [8, 4, 2, 4, 8]
    assert report.batch_size == 8
    assert report.timing(report.subject) == report.subject.timings[-1].timing
    for point in report.subject.timings:
        # On a CPU one query keeps the device busy: as fast as its requests are answered.
        assert point.images_per_second == 1e3 * point.batch_size / point.timing.request.median_ms
        # The subject is not compared with itself.
        assert point.speedup is None
    assert speedups(report) == [pytest.approx(2.0)] * 3
    fields = json.loads(json.dumps(report.to_dict()))
    for contender in fields["contenders"]:
        assert [each["batch_size"] for each in contender["timings"]] == [2, 4, 8]


def test_without_a_sweep_there_is_one_size() -> None:
    report = evaluate(NumpyModel(), DATA, EvaluateOptions(8, QUICK))
    assert report.sweep == ()
    assert [each.batch_size for each in report.subject.timings] == [8]


def test_the_best_within_a_budget(clock: Clock) -> None:
    # Each request takes as long, whatever its batch: a reading of the clock.
    report = evaluate(NumpyModel(), DATA, EvaluateOptions(8, QUICK, sweep=(1, 4)))
    curve = report.subject.timings
    slowest = max(point.timing.request.p99_ms for point in curve)
    assert best_within(curve, slowest) == curve[-1]
    assert best_within(curve, 0.0) is None
    # Several in flight are faster, but not within the time of one.
    fast = replace(curve[0].timing, throughput=Throughput(1e9, Interval(1e9, 1e9), 6, 48, 8))
    crowded = replace(curve[0], timing=fast)
    assert crowded.images_per_second == 1e9
    assert best_within([crowded, *curve[1:]], slowest) == curve[-1]
    limited = EvaluateOptions(8, QUICK, sweep=(1, 4), latency_budget_ms=1e9)
    assert evaluate(NumpyModel(), DATA, limited).best_batch == 8
    none = EvaluateOptions(8, QUICK, sweep=(1, 4), latency_budget_ms=0.0)
    assert evaluate(NumpyModel(), DATA, none).best_batch is None


@pytest.mark.parametrize("asked", [{"sweep": (1,)}, {"latency_budget_ms": 5.0}])
def test_what_needs_times_is_refused_without(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="need a latency measurement"):
        evaluate(NumpyModel(), DATA, EvaluateOptions(8, None, **asked))


def test_every_size_must_be_one_that_the_model_takes() -> None:
    model = NumpyModel(batch_range=(1, 8))
    with pytest.raises(UsageError, match="Batch size 16"):
        evaluate(model, DATA, EvaluateOptions(8, QUICK, sweep=(16,)))


def test_warnings_name_the_batch_size() -> None:
    model, baseline = NumpyModel(), NumpyModel()
    options = EvaluateOptions(8, QUICK, sweep=(2,))
    model.name, baseline.name = "model", "baseline"
    report = evaluate(model, DATA, options, baseline=baseline, rivals=[NumpyModel()])
    letters = {"baseline": "b", "subject": "a", "rival": "c"}

    def spoiled(each: Measured) -> Measured:
        small, *others = each.timings
        warnings = (f"Unstable: {letters[each.role]}.",)
        worse = replace(small, timing=replace(small.timing, warnings=warnings))
        return replace(each, timings=(worse, *others))

    assert replace(report, contenders=tuple(map(spoiled, report.contenders))).warnings == (
        "baseline at batch 2: Unstable: b.",
        "model at batch 2: Unstable: a.",
        "numpy at batch 2: Unstable: c.",
    )
