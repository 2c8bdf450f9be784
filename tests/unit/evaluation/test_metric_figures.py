"""Metrics of everything that is compared, their pairing and their gates."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.detection_cases import as_outputs, make_case
from tests.support.measured import NumpyModel, Samples, make_samples
from trtqat.data.batches import Batch
from trtqat.errors import DataError, GateError, UsageError
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.metrics.bootstrap import resample
from trtqat.evaluation.metrics.classification import TopK
from trtqat.evaluation.metrics.regression import MeanSquaredError
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.recorded import read_baseline
from trtqat.evaluation.report import Report
from trtqat.report.page import render_page
from trtqat.report.verdict import verdict
from trtqat.report.words import answers, report_tables
from trtqat.tensors import Array

X, CLASSES = make_samples(50, seed=3)
WISHED = Samples(X, X * 2)
# Nothing is timed.
OPTIONS = EvaluateOptions(8, None)


def doubled(x: Array) -> Array:
    return np.asarray(x * 2.02)


def noisy(x: Array) -> Array:
    return np.asarray(x * 2 + 0.1 * np.sin(40 * x))


def measured(
    *, data: Any = WISHED, baseline: Any = None, options: EvaluateOptions = OPTIONS, **fields: Any
) -> Report:
    return evaluate(NumpyModel(noisy), data, options, baseline=baseline, **fields)


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


def recorded(folder: Path, **fields: Any) -> Path:
    path = folder / "report.json"
    measured(baseline=NumpyModel(doubled), **fields).save(path)
    return path


def test_a_recorded_baseline_is_paired_as_one_that_is_here(tmp_path: Path) -> None:
    here = measured(baseline=NumpyModel(doubled), metrics=["mse"])
    path = recorded(tmp_path, metrics=["mse", "psnr"])
    there = measured(baseline=path, rivals=[NumpyModel()], metrics=["mse"])
    assert there.subject.metrics == here.subject.metrics
    assert there.baseline is not None
    assert there.baseline.metrics == here.baseline.metrics  # type: ignore[union-attr]
    assert there.rivals[0].metrics[0].to_baseline is not None
    # What was compared with a record is a record in turn.
    there.save(tmp_path / "again.json")
    again = measured(baseline=tmp_path / "again.json", metrics=["mse"])
    assert again.subject.metrics == here.subject.metrics
    gated = measured(baseline=path, max_drop={"psnr": 0.001})
    assert len(gated.failed_gates) == 1


def test_a_report_without_baseline_is_one_itself(tmp_path: Path) -> None:
    measured(metrics=["mse"]).save(tmp_path / "r.json")
    found = measured(baseline=tmp_path / "r.json", metrics=["mse"])
    figure = found.subject.metrics[0]
    assert figure.to_baseline is not None
    assert (figure.to_baseline.value, figure.to_baseline.low, figure.to_baseline.high) == (0, 0, 0)


def test_a_record_of_something_else(tmp_path: Path) -> None:
    path = recorded(tmp_path, metrics=["psnr:range=4"])
    with pytest.raises(DataError, match=r"recorded with the metric psnr:range=4.0, and psnr:range"):
        measured(baseline=path, metrics=["psnr"])
    counted = recorded(tmp_path, data=Samples(X, CLASSES))
    with pytest.raises(UsageError, match="has no top1, so there is no drop") as raised:
        measured(data=Samples(X, CLASSES), baseline=counted, max_drop={"top1": 0.5})
    assert "Write --max-accuracy-drop 0.5" in raised.value.remedy
    path = recorded(tmp_path, metrics=["psnr:range=4"])
    with pytest.raises(UsageError, match="has no mse, so there is no drop") as raised:
        measured(baseline=path, max_drop={"mse": 1})
    assert "Record the baseline with --metric mse" in raised.value.remedy
    found = measured(baseline=path, metrics=["mse"])
    assert found.subject.metrics[0].to_baseline is None
    fields = json.loads(path.read_text())
    kept = fields["contenders"][1]["metrics"][0]["samples"]["rows"]
    for change, message in (({"rows": 49}, "another length"), ({"type": "int64"}, "'int64'")):
        path.write_text(json.dumps(fields))
        kept.update(change)
        (tmp_path / "damaged.json").write_text(json.dumps(fields))
        with pytest.raises(UsageError, match=message):
            read_baseline(tmp_path / "damaged.json")


class Scenes:
    """Images of which a detector's outputs are known."""

    name = "scenes"

    def __init__(self) -> None:
        self.found, self.labels = make_case(1, 40, ties=False)

    def __len__(self) -> int:
        return 40

    def batch(self, start: int, stop: int) -> Batch:
        index = np.arange(start, stop, dtype=np.float32)
        return Batch({"x": np.repeat(index[:, None], 7, axis=1)}, self.labels[start:stop])


class Detector(NumpyModel):
    """What the scenes know, moved by a few pixels."""

    outputs = ()

    def __init__(self, scenes: Scenes, moved: float) -> None:
        super().__init__(outputs=())
        self.known, self.moved = as_outputs(scenes.found), moved

    def session(self, batch_size: int) -> Any:
        session = super().session(batch_size)

        def run(inputs: Any) -> dict[str, Array]:
            index = inputs["x"][:, 0].astype(int)
            outputs = {name: array[index] for name, array in self.known.items()}
            outputs["detection_boxes"] = outputs["detection_boxes"] + self.moved
            return outputs

        session.run = run  # type: ignore[method-assign]
        return session


def test_a_detector_passes_and_fails(tmp_path: Path) -> None:
    scenes = Scenes()
    options = EvaluateOptions(8, None, metrics=("map", "map50"), max_drop={"map50": 1})
    close, far = (
        evaluate(Detector(scenes, moved), scenes, options, baseline=Detector(scenes, 0))
        for moved in (0.0, 3.0)
    )
    assert close.failed_gates == ()
    (gate,) = far.failed_gates
    assert gate.startswith("The map50 drops by")
    figure = far.subject.metrics[0]
    assert figure.resamples == 200
    assert figure.to_baseline is not None
    assert figure.to_baseline.high < 0
    assert "significantly worse" in verdict(far)
    far.save(tmp_path / "r.json")
    again = evaluate(Detector(scenes, 3), scenes, options, baseline=tmp_path / "r.json")
    assert again.subject.metrics == far.subject.metrics
    comparison = far.subject.to_baseline
    assert comparison is not None
    assert len(comparison.agreement.outputs) == 4
    # By area of the boxes, which are all small; a record keeps the figures.
    for report in (far, again):
        for side in report.side_by_side:
            (part,) = side.metrics[0].parts
            assert part.name == "small"
            assert part.value == pytest.approx(side.metrics[0].value.value)
    # Reports from before have no such figures.
    fields = json.loads((tmp_path / "r.json").read_text())
    for contender in fields["contenders"]:
        assert all(figure.pop("parts") for figure in contender["metrics"])
    (tmp_path / "r.json").write_text(json.dumps(fields))
    older = evaluate(Detector(scenes, 3), scenes, options, baseline=tmp_path / "r.json")
    assert older.baseline is not None
    assert [each.parts for each in older.baseline.metrics] == [(), ()]
    assert older.subject.metrics == far.subject.metrics
    titles = [title for title, *_ in report_tables(far)]
    assert "Metrics in parts" not in titles
    (table,) = [each for each in report_tables(far, in_full=True) if each[0] == "Metrics in parts"]
    _, columns, rows = table
    assert columns == ["metric", "numpy", "numpy"]
    assert [row[0] for row in rows] == ["map, small", "map50, small"]
    assert rows[0][1] == f"{far.subject.metrics[0].value.value:.2f} %"
    assert "Metrics in parts" in render_page(far)
    without = report_tables(measured(metrics=["mse"]), in_full=True)
    assert "Metrics in parts" not in [title for title, *_ in without]


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
    ],
)
def test_what_cannot_be_measured(
    labels: Any, fields: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        measured(data=Samples(X, labels), **fields)
