from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.measured import (
    DATA,
    LABELS,
    QUICK,
    NumpyModel,
    Samples,
    X,
    one_of_twenty_wrong,
)
from trtqat.errors import GateError, UsageError
from trtqat.evaluation.counts import Paired
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.report import Report
from trtqat.runtime.protocol import Session
from trtqat.tensors import Array
from trtqat.typed_json import parse_json, read_as


def report(
    *, speed: float = 2.0, drop: float | None = None, speedup: float | None = None
) -> Report:
    return evaluate(
        NumpyModel(one_of_twenty_wrong, compute_ms=10.0),
        DATA,
        EvaluateOptions(8, QUICK, max_accuracy_drop=drop, min_speedup=speedup),
        baseline=NumpyModel(compute_ms=10.0 * speed),
    )


def test_report() -> None:
    found = report()
    assert (found.images, found.batch_size, found.data) == (20, 8, "samples")
    assert found.speedup is not None
    assert found.speedup.value == pytest.approx(2.0)
    comparison = found.subject.to_baseline
    assert comparison is not None
    assert comparison.paired == Paired(lost=1, gained=0, p_value=1.0)
    assert found.top1_drop_points == pytest.approx(5.0)
    assert found.subject.accuracy is not None
    assert found.subject.accuracy.top1 == 19
    assert comparison.agreement.same_top1 == 19
    assert found.failed_gates == ()
    found.check_gates()


def test_report_as_json() -> None:
    fields = json.loads(json.dumps(report(drop=1.0).to_dict()))
    assert fields["schema_version"] == 8
    sides = {each["role"]: each for each in fields["contenders"]}
    assert list(sides) == ["subject", "baseline"]
    comparison = sides["subject"]["to_baseline"]
    assert comparison["against"] == "numpy"
    assert comparison["paired"] == {"lost": 1, "gained": 0, "p_value": 1.0}
    assert comparison["agreement"]["same_top1"] == 19
    assert fields["top1_drop_points"] == pytest.approx(5.0)
    (at,) = sides["subject"]["timings"]
    assert at["batch_size"] == 8
    assert at["timing"]["compute"]["median_ms"] == 10.0
    assert sides["baseline"]["timings"][0]["speedup"]["value"] == pytest.approx(2.0)
    assert sides["baseline"]["accuracy"]["top1"] == 20
    assert sides["subject"]["predictions"]["classes"].split()[0] == str(LABELS[0])
    assert fields["environment"]["packages"]["numpy"] == np.__version__
    assert len(fields["failed_gates"]) == 1
    assert "comparison" not in fields


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    found, path = report(drop=1.0), tmp_path / "report.json"
    found.save(path)
    assert read_as(Report, parse_json(path.read_bytes())) == found
    # A distribution of 201 times is one line.
    assert len(path.read_text().splitlines()) < 400


def test_neither_baseline_nor_latency_nor_labels() -> None:
    found = evaluate(NumpyModel(), Samples(X, None), EvaluateOptions(8, None))
    assert (found.baseline, found.speedup, found.top1_drop_points) == (None, None, None)
    assert (found.subject.accuracy, found.subject.timings) == (None, ())
    assert found.subject.to_baseline is None
    (subject,) = json.loads(json.dumps(found.to_dict()))["contenders"]
    assert subject["to_baseline"] is None


@pytest.mark.parametrize(
    ("drop", "speedup", "failed"),
    [
        (5.5, 1.9, []),
        (5.0, 2.0, []),
        (4.9, None, ["Top-1 drops by 5.00 points, more than 4.9."]),
        (0.0, 3.0, ["Top-1 drops by 5.00", "The speed-up is 2.00, less than 3."]),
        (None, 2.1, ["The speed-up is 2.00, less than 2.1."]),
    ],
)
def test_gates(drop: float | None, speedup: float | None, failed: list[str]) -> None:
    found = report(drop=drop, speedup=speedup)
    assert len(found.failed_gates) == len(failed)
    for sentence, start in zip(found.failed_gates, failed, strict=True):
        assert sentence.startswith(start)
    if failed:
        with pytest.raises(GateError, match=failed[-1][:20]):
            found.check_gates()


def test_a_drop_of_as_much_as_is_allowed_passes() -> None:
    # 4 and 3 of 1000: in floats 0.4 - 0.3 points are 0.10000000000000003.
    x = np.tile(np.arange(7, dtype=np.float32), (1000, 1))
    x[0, 0] = 9
    labels = np.where(np.arange(1000) < 4, x.argmax(axis=1), 1)
    found = evaluate(
        NumpyModel(lambda images: np.where(images == 9, 0, images)),
        Samples(x, labels),
        EvaluateOptions(1000, None, max_accuracy_drop=0.1),
        baseline=NumpyModel(),
        max_drop={"top1": 0.1},
    )
    assert found.top1_drop_points == pytest.approx(0.1)
    assert found.failed_gates == ()


def test_a_gain_is_no_drop() -> None:
    found = evaluate(
        NumpyModel(),
        DATA,
        EvaluateOptions(8, None, max_accuracy_drop=0.0),
        baseline=NumpyModel(one_of_twenty_wrong),
    )
    assert found.top1_drop_points == pytest.approx(-5.0)
    assert found.failed_gates == ()


@pytest.mark.parametrize(
    ("options", "has_labels", "has_baseline", "message"),
    [
        (EvaluateOptions(8, QUICK, max_accuracy_drop=1.0), True, False, "An accuracy drop needs"),
        (EvaluateOptions(8, QUICK, max_accuracy_drop=1.0), False, True, "An accuracy drop needs"),
        (EvaluateOptions(8, QUICK, min_speedup=1.0), True, False, "speed-up needs.*--baseline, or"),
        (EvaluateOptions(8, None, min_speedup=1.0), True, True, "speed-up needs.*--duration, or"),
    ],
)
def test_gates_that_cannot_be_judged(
    options: EvaluateOptions, has_labels: bool, has_baseline: bool, message: str
) -> None:
    model = NumpyModel()
    data = Samples(X, LABELS if has_labels else None)
    with pytest.raises(UsageError, match=message):
        evaluate(model, data, options, baseline=NumpyModel() if has_baseline else None)
    assert model.sessions == []


@pytest.mark.parametrize(
    ("batch_range", "batch", "allowed"),
    [((1, 4), 5, "1 to 4"), ((4, 4), 3, r"\(4\)"), ((2, None), 1, "2 to any"), ((1, 4), 0, "1")],
)
def test_batch_size_that_the_model_does_not_take(
    batch_range: tuple[int, int | None], batch: int, allowed: str
) -> None:
    model = NumpyModel(batch_range=batch_range)
    with pytest.raises(UsageError, match=f"Batch size {batch} .*{allowed}"):
        evaluate(model, DATA, EvaluateOptions(batch, None))
    assert model.sessions == []


def test_latency_runs_on_real_data_at_the_full_batch() -> None:
    loaded: list[Array] = []

    class Noting(NumpyModel):
        def session(self, batch_size: int) -> Session:
            session = super().session(batch_size)
            session.load = lambda inputs: loaded.append(inputs["x"])  # type: ignore[method-assign]
            return session

    model = Noting()
    evaluate(model, Samples(X[:3], None), EvaluateOptions(8, QUICK))
    np.testing.assert_array_equal(loaded, [X[[0, 1, 2, 0, 1, 2, 0, 1]]])
    assert not model.is_open


def test_outputs_that_are_no_number_are_told() -> None:
    def broken(x: Array) -> Array:
        return np.where((x == X[3]).all(axis=1, keepdims=True), np.nan, x)

    options = EvaluateOptions(8, None)
    found = evaluate(NumpyModel(broken), DATA, options, baseline=NumpyModel())
    (warning,) = [each for each in found.warnings if "NaN" in each]
    assert "the output for 1 of 20 images holds NaN" in warning
    assert not evaluate(NumpyModel(), DATA, options, baseline=NumpyModel()).warnings


@pytest.mark.parametrize(
    ("baseline", "is_another"),
    [
        # As a model of random weights: as large, and of another direction.
        (lambda x: np.roll(x, 1, axis=1), True),
        (lambda x: -x, True),
        (lambda x: x + 0.5 * np.roll(x, 1, axis=1), False),
    ],
)
def test_a_baseline_that_is_another_model_is_told(
    baseline: Callable[[Array], Array], is_another: bool
) -> None:
    options = EvaluateOptions(8, None, max_accuracy_drop=100.0)
    found = evaluate(NumpyModel(), DATA, options, baseline=NumpyModel(baseline))
    assert found.failed_gates == ()
    told = [each for each in found.warnings if "--checkpoint was forgotten" in each]
    assert len(told) == is_another
