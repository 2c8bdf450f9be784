"""Metrics of everything that is compared, their pairing and their gates."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.measured import NumpyModel, Samples
from tests.support.measured_figures import CLASSES, OPTIONS, WISHED, X, doubled, measured, noisy
from trtqat.errors import DataError, GateError, UsageError
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.metrics.bootstrap import resample
from trtqat.evaluation.metrics.classification import TopK
from trtqat.evaluation.metrics.regression import MeanSquaredError
from trtqat.evaluation.options import EvaluateOptions
from trtqat.report.page import render_page
from trtqat.report.verdict import verdict
from trtqat.report.words import answers, report_tables
from trtqat.tensors import Array


def test_values_and_paired_differences() -> None:
    found = measured(
        baseline=NumpyModel(doubled),
        steps=[NumpyModel()],
        rivals=[NumpyModel(doubled)],
        metrics=["mse"],
    )
    metric = MeanSquaredError()
    mine, theirs = resample(
        metric, [metric.per_sample({"y": function(X)}, X * 2) for function in (noisy, doubled)]
    )
    figure = found.subject.metric("mse")
    assert figure is not None
    assert (figure.value, figure.to_baseline) == (mine.estimate(), mine.less(theirs))
    assert (figure.spec, figure.unit, figure.higher_is_better) == ("mse", "", False)
    assert found.baseline is not None
    assert found.baseline.metrics[0].value == theirs.estimate()
    assert found.baseline.metrics[0].to_baseline is None
    (rival,), (step,) = found.rivals, found.steps
    assert rival.metrics[0].to_baseline is not None
    assert rival.metrics[0].to_baseline.value == 0
    assert step.metrics[0].value.value == pytest.approx(float(np.mean(X.astype(float) ** 2)))
    # These are no classes, so nothing was counted; but every output was compared.
    assert found.subject.accuracy is None
    comparison = found.subject.to_baseline
    assert comparison is not None
    assert [each.name for each in comparison.agreement.outputs] == ["logits"]
    assert comparison.agreement.sqnr_db > 20  # type: ignore[operator]
    columns = {title: columns for title, columns, _ in report_tables(found)}
    assert "Metrics" in columns
    # Without those of right answers, which nobody has.
    steps = ["step", "mse", "same as before", "SQNR to before"]
    assert columns["Where accuracy changes"] == steps
    assert "no accuracy" not in answers(found)


def test_one_sample_has_no_interval_and_shows_nothing() -> None:
    found = evaluate(
        NumpyModel(noisy),
        Samples(X[:1], X[:1] * 2),
        OPTIONS,
        baseline=NumpyModel(doubled),
        metrics=["mse"],
    )
    figure = found.subject.metric("mse")
    assert figure is not None
    assert figure.to_baseline is not None
    assert figure.to_baseline.value > 0
    assert math.isnan(figure.value.low)
    assert math.isnan(figure.to_baseline.high)
    rows = {row[0]: row[1:] for row in report_tables(found)[0][2]}
    assert "95 % interval" not in rows
    assert rows["mse less the baseline's"][1].startswith("+")
    assert "significant" not in verdict(found)
    page = render_page(found)
    assert "mse; less is better." in page
    assert "95 % interval" not in page


@pytest.mark.parametrize(("count", "is_told"), [(2, False), (5, False), (6, True)])
def test_a_few_samples_show_no_significance(count: int, is_told: bool) -> None:
    # All of them are worse: by chance that is one of 16 cases of five samples, one of 32 of six.
    found = evaluate(
        NumpyModel(lambda x: x * 0),
        Samples(X[:count], X[:count]),
        OPTIONS,
        baseline=NumpyModel(),
        metrics=["mse"],
    )
    assert ("significantly worse" in verdict(found)) == is_told
    assert ("significant" in verdict(found)) == is_told


@pytest.mark.parametrize("metric", ["top3", "mse"])
@pytest.mark.parametrize(("worse", "is_told"), [(5, False), (6, True)])
def test_few_samples_that_changed_show_no_significance(
    metric: str, worse: int, is_told: bool
) -> None:
    """Of however many: 4 of 1000 worse were called significantly worse."""
    x = np.tile(np.arange(7, dtype=np.float32), (200, 1))
    x[:, 0] = np.arange(200)
    labels = np.full(200, 6) if metric == "top3" else x.copy()
    found = evaluate(
        NumpyModel(lambda x: np.where(x[:, :1] < worse, -x, x)),
        Samples(x, labels),
        OPTIONS,
        baseline=NumpyModel(),
        metrics=[metric],
    )
    assert ("significantly worse" in verdict(found)) == is_told
    assert ("no significant difference" in verdict(found)) != is_told
    difference = found.subject.metrics[0].to_baseline
    assert difference is not None
    assert (difference.low <= 0 <= difference.high) != is_told


@pytest.mark.parametrize(
    ("data", "metrics", "shown"),
    [
        (WISHED, ["mse", "psnr:range=8"], ["mse", "psnr"]),
        (Samples(X, CLASSES), [], ["top-1"]),
        (Samples(X, CLASSES), ["top1", "top3"], ["top-1", "top3"]),
        (Samples(X, CLASSES), ["top3"], ["top3"]),
        (Samples(X, None), [], []),
    ],
)
def test_rivals_and_steps_are_told_by_what_was_asked(
    data: Samples, metrics: list[str], shown: list[str]
) -> None:
    found = measured(
        data=data,
        metrics=metrics,
        baseline=NumpyModel(doubled),
        steps=[NumpyModel()],
        rivals=[NumpyModel(np.negative)],
    )
    tables = {title: (columns, rows) for title, columns, rows in report_tables(found)}
    columns, rows = tables["What might run instead"]
    assert columns[4:] == [*shown, "same prediction", "size"]
    steps, _ = tables["Where accuracy changes"]
    of_top1 = ["lost, gained"] if "top-1" in shown else []
    assert steps == ["step", *shown, "same as before", "SQNR to before", *of_top1]
    for row, side in zip(rows, (found.subject, *found.rivals, found.baseline), strict=True):
        assert side is not None
        for cell, figure in zip(row[4:], side.metrics, strict=False):
            number = f"{figure.value.value:.2f}" if figure.unit else f"{figure.value.value:.4g}"
            assert cell.split()[0] == number


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_batches_make_no_difference(batch_size: int) -> None:
    options = EvaluateOptions(batch_size, None, metrics=("mse", "psnr:range=8"))
    assert (
        measured(options=options).subject.metrics
        == measured(metrics=["mse", "psnr:range=8"]).subject.metrics
    )


def test_top1_is_what_is_counted() -> None:
    data = Samples(X, CLASSES)
    found = measured(data=data, baseline=NumpyModel(np.negative), metrics=["top1", "top3"])
    plain = measured(data=data, baseline=NumpyModel(np.negative))
    accuracy = found.subject.accuracy
    assert accuracy is not None
    assert accuracy == plain.subject.accuracy
    assert found.subject.metrics[0].value.value == pytest.approx(accuracy.top1_percent)
    drop = found.subject.metrics[0].drop
    assert drop is not None
    assert drop.value == pytest.approx(found.top1_drop_points)
    assert plain.subject.metrics == ()
    rows = {row[0]: row for row in report_tables(found)[0][2]}
    assert {"top-1", "top3", "top1 less the baseline's"} <= set(rows)
    assert "top1" not in rows
    # Predictions and the hash of the data are the same as ever.
    assert found.subject.predictions == plain.subject.predictions
    top3 = measured(data=data, metrics=[TopK(k=3)])
    assert top3.subject.accuracy is None
    assert top3.subject.metrics[0].value == found.subject.metrics[1].value


@pytest.mark.parametrize(
    ("drops", "failed"),
    [
        ({"mse": 1.0}, ()),
        ({"mse": 0.001}, ("The mse rises by 0.00",)),
        ({"mse": 0.001, "psnr": 0}, ("The mse rises", "The psnr drops by")),
    ],
)
def test_gates(drops: dict[str, float], failed: tuple[str, ...]) -> None:
    found = measured(baseline=NumpyModel(lambda x: x * 2.001), metrics=["mse"], max_drop=drops)
    assert len(found.failed_gates) == len(failed)
    for gate, begin in zip(found.failed_gates, failed, strict=True):
        assert gate.startswith(begin)
    assert [each.metric for each in found.subject.metrics] == list(dict.fromkeys(["mse", *drops]))
    if failed:
        with pytest.raises(GateError):
            found.check_gates()


def test_a_failed_gate_shows_on_which_side_of_its_limit_the_figure_is() -> None:
    x = np.eye(3, dtype=np.float32)[np.zeros(300, int)]
    first_wrong = NumpyModel(lambda x: np.where(np.arange(len(x))[:, None] == 0, x[:, ::-1], x))
    found = evaluate(
        first_wrong,
        Samples(x, np.zeros(300, np.int64)),
        EvaluateOptions(300, None, max_accuracy_drop=0.333, min_sqnr_db=21.8),
        baseline=NumpyModel(),
        max_drop={"top1": 0.3333},
    )
    # A third of a point is lost, and a 150th of the signal is noise: 21.76 dB.
    assert found.failed_gates == (
        "Top-1 drops by 0.3333 points, more than 0.333.",
        "The top1 drops by 0.33333 points, more than 0.3333.",
        "The SQNR of the output 'logits' is 21.76 dB, less than 21.8.",
    )


def test_the_page_draws_each_metric_with_its_interval() -> None:
    found = measured(
        baseline=NumpyModel(doubled), rivals=[NumpyModel()], metrics=["mse", "psnr:range=8"]
    )
    page = render_page(found)
    assert "The metric mse" in page
    assert "psnr in dB, with its 95 % interval; more is better." in page
    assert "mse, with its 95 % interval; less is better." in page
    # What is infinite has no place on an axis.
    exact = evaluate(NumpyModel(), Samples(X, X), OPTIONS, metrics=["psnr"])
    assert exact.subject.metrics[0].value.value == math.inf
    assert "The metric psnr" not in render_page(exact)
    counted = measured(data=Samples(X, CLASSES), metrics=["top1", "top3"])
    page = render_page(counted)
    assert "The metric top3" in page
    assert "The metric top1" not in page


def test_models_without_any_error_pass_a_gate() -> None:
    found = evaluate(
        NumpyModel(), Samples(X, X), OPTIONS, baseline=NumpyModel(), max_drop={"psnr": 0}
    )
    assert found.failed_gates == ()
    rows = {row[0]: row[1:] for row in report_tables(found)[0][2]}
    assert rows["psnr less the baseline's"][1] == "0.00 dB (0.00 … 0.00)"


def test_a_gate_on_what_is_no_number_fails() -> None:
    found = evaluate(
        NumpyModel(lambda x: np.where(x > 2, np.nan, x)),
        WISHED,
        OPTIONS,
        baseline=NumpyModel(),
        max_drop={"mse": 100},
    )
    assert found.failed_gates == (
        "The mse of model or baseline is no number, so nobody knows how it changed.",
    )
    assert "mse no number" in verdict(found)


def all_nan(x: Array) -> Array:
    return np.full_like(x, np.nan)


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize(
    ("data", "gate"),
    [
        (Samples(X[:, :, None], np.zeros((50, 1), int)), {"max_drop": {"miou": 0.5}}),
        (Samples(X, CLASSES), {"max_drop": {"top3": 0.5}}),
        (Samples(X, CLASSES), {"max_accuracy_drop": 0.5}),
    ],
)
def test_no_gate_passes_beside_a_baseline_of_nan(
    data: Samples, gate: dict[str, Any], is_recorded: bool, tmp_path: Path
) -> None:
    """Nothing is worse than that."""
    baseline: Any = NumpyModel(all_nan)
    if is_recorded:
        path = tmp_path / "report.json"
        evaluate(baseline, data, OPTIONS, metrics=list(gate.get("max_drop", ["top1"]))).save(path)
        baseline = path
    found = evaluate(NumpyModel(), data, OPTIONS, baseline=baseline, **gate)
    (sentence,) = found.failed_gates
    assert sentence.startswith("The output 'logits' of 'numpy")
    name = "top-1" if "max_accuracy_drop" in gate else next(iter(gate["max_drop"]))
    assert sentence.endswith(f"is NaN for every image, so nobody knows how the {name} changed.")
    assert found.baseline is not None
    assert f"{found.baseline.name}: the output for 50 of 50 images holds NaN." in found.warnings


def test_nan_in_any_contender_and_any_output_is_told() -> None:
    def some(x: Array) -> Array:
        return np.where(np.arange(len(x))[:, None] == 2, np.nan, x)

    found = evaluate(
        NumpyModel(),
        Samples(X[:, :, None], np.zeros((50, 1), int)),
        OPTIONS,
        baseline=NumpyModel(),
        rivals=[Renamed(lambda x: some(x[..., 0])[..., None], "rival")],
        max_drop={"miou": 0.5},
    )
    assert found.failed_gates == ()
    # At the third place of seven batches; the last one has two.
    assert found.rivals[0].nan_images == 6
    assert "rival: the output for 6 of 50 images holds NaN." in found.warnings
    assert (found.subject.nan_images, found.subject.nan_outputs) == (0, ())


class Renamed(NumpyModel):
    def __init__(self, function: Callable[[Array], Array], name: str) -> None:
        super().__init__(function)
        self.name = name


@pytest.mark.parametrize(
    ("labels", "fields", "kind", "message"),
    [
        (None, {"metrics": ["mse"]}, UsageError, "no labels, which mse would be measured by"),
        (None, {"max_drop": {"mse": 1}}, UsageError, "no labels"),
        (X, {"max_drop": {"mse": 1}}, UsageError, "A drop of mse needs a baseline"),
        (X, {"max_drop": {"mse": math.nan}}, UsageError, "mse is nan"),
        (X, {"max_drop": {"mse": -1}}, UsageError, r"max_drop\['mse'\] is -1"),
        (X, {"metrics": "mse"}, UsageError, "metrics is 'mse', a str"),
        (X, {"metrics": ["top1"]}, DataError, r"one integer per sample, but are float32 of shape"),
        (X, {"max_accuracy_drop": 1.0, "metrics": ["mse"]}, DataError, "one integer per sample"),
        (X, {}, DataError, r"The labels of 'samples' must be one integer per sample"),
        (CLASSES, {"metrics": ["miou"]}, DataError, "miou reads masks"),
        (X, {"metrics": ["nonsense"]}, UsageError, "no metric 'nonsense'"),
        (X, {"metrics": ["mse"], "max_drop": {"psnr:range=0": 1}}, UsageError, "range of psnr"),
        (
            X,
            {"metrics": ["psnr:range=4"], "max_drop": {"psnr:range=8": 1}},
            UsageError,
            r"gate is on psnr:range=8.0, but psnr:range=4.0 is measured",
        ),
    ],
)
def test_what_cannot_be_measured(
    labels: Any, fields: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        measured(data=Samples(X, labels), **fields)
