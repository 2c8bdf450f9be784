"""A baseline from the report of another host."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.measured import (
    QUICK,
    NumpyModel,
    Samples,
    make_samples,
    one_of_twenty_wrong,
    speedups,
)
from trtqat.errors import DataError, GateError, UsageError
from trtqat.evaluation.contenders import pack, unpack
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.recorded import read_baseline
from trtqat.evaluation.report import Report
from trtqat.report.words import report_tables
from trtqat.tensors import Array

X, _ = make_samples(20)
LABELS = X.argmax(axis=1)
DATA = Samples(X, LABELS)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The report of a model that gets one of twenty wrong, beside a baseline that gets none."""
    report = evaluate(
        NumpyModel(one_of_twenty_wrong, compute_ms=10.0),
        DATA,
        EvaluateOptions(8, QUICK),
        baseline=NumpyModel(compute_ms=30.0),
    )
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report.to_dict()))
    return path


def against(path: Path, data: Samples = DATA, batch_size: int = 8, **gates: Any) -> Report:
    return evaluate(
        NumpyModel(one_of_twenty_wrong, compute_ms=10.0),
        data,
        EvaluateOptions(batch_size, QUICK, **gates),
        baseline=path,
    )


def test_it_stands_beside_as_if_it_were_here(recorded: Path) -> None:
    found = against(recorded)
    assert found.baseline is not None
    assert found.baseline.name.startswith("numpy (recorded on ")
    assert found.baseline.accuracy is not None
    assert found.baseline.accuracy.top1 == 20
    comparison = found.subject.to_baseline
    assert comparison is not None
    assert comparison.against == found.baseline.name
    assert comparison.paired is not None
    assert (comparison.paired.lost, comparison.paired.gained) == (1, 0)
    agreement = comparison.agreement
    assert (agreement.same_top1, agreement.count, agreement.sqnr_db) == (19, 20, None)
    assert found.speedup is not None
    assert found.speedup.value == pytest.approx(3.0)
    assert found.speedup.turns is None
    # What was compared with a record can be a record in turn.
    again, before = (
        {each["role"]: each["predictions"] for each in fields["contenders"]}
        for fields in (json.loads(json.dumps(found.to_dict())), json.loads(recorded.read_text()))
    )
    assert again == before


def test_gates_hold_against_it(recorded: Path) -> None:
    against(recorded, max_accuracy_drop=5.0, min_speedup=2.9).check_gates()
    with pytest.raises(GateError, match=r"drops by 5\.00 points"):
        against(recorded, max_accuracy_drop=4.9).check_gates()
    with pytest.raises(GateError, match=r"speed-up is 3\.00"):
        against(recorded, min_speedup=3.1).check_gates()


@pytest.mark.parametrize(("step", "failed"), [(np.copy, 0), (np.zeros_like, 1)])
def test_a_record_has_no_outputs_and_the_step_before_has(
    step: Callable[[Array], Array], failed: int, recorded: Path
) -> None:
    """An SQNR is that of the subject beside the step then."""
    found = evaluate(
        NumpyModel(),
        DATA,
        EvaluateOptions(8, None, min_sqnr_db=20.0),
        baseline=recorded,
        steps=[NumpyModel(step)],
    )
    assert len(found.failed_gates) == failed
    assert all("'logits' is" in sentence for sentence in found.failed_gates)


def test_other_data_are_refused(recorded: Path) -> None:
    moved = LABELS.copy()
    moved[7] = (moved[7] + 1) % 7
    for data in (Samples(X, moved), Samples(X + 1, LABELS), Samples(X[:19], LABELS[:19])):
        with pytest.raises(DataError, match="other data"):
            against(recorded, data)


def test_no_answer_here_and_there_is_not_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    model = NumpyModel(lambda x: np.where((x == X[3]).all(axis=1, keepdims=True), np.nan, x))
    evaluate(model, DATA, EvaluateOptions(8, None)).save(path)
    comparison = evaluate(model, DATA, EvaluateOptions(8, None), baseline=path).subject.to_baseline
    assert comparison is not None
    assert (comparison.agreement.same_top1, comparison.agreement.count) == (19, 20)


@pytest.mark.parametrize("count", [8, 19])
def test_fewer_samples_without_labels_are_other_data(count: int, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    evaluate(NumpyModel(), Samples(X, None), EvaluateOptions(8, None)).save(path)
    found = against(path, Samples(X, None))
    assert found.subject.to_baseline is not None
    with pytest.raises(DataError, match=f"other data: of 20 samples, and here there are {count}"):
        against(path, Samples(X[:count], None))


def test_another_batch_size_has_no_speedup(recorded: Path) -> None:
    found = against(recorded, batch_size=4)
    assert found.speedup is None
    assert found.baseline is not None
    assert found.baseline.timings == ()
    with pytest.raises(UsageError, match="recorded at batch 8, not 4"):
        against(recorded, batch_size=4, min_speedup=1.0)


def test_every_batch_size_that_both_have_is_compared(tmp_path: Path) -> None:
    report = evaluate(
        NumpyModel(compute_ms=10.0),
        DATA,
        EvaluateOptions(8, QUICK, sweep=(2, 4)),
        baseline=NumpyModel(compute_ms=30.0),
    )
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report.to_dict()))
    found = evaluate(
        NumpyModel(compute_ms=15.0),
        DATA,
        EvaluateOptions(4, QUICK, sweep=(1, 2)),
        baseline=path,
    )
    assert found.sweep == (1, 2, 4)
    assert speedups(found) == [None, pytest.approx(2.0), pytest.approx(2.0)]
    assert found.baseline is not None
    # Nothing was asked of batch 8.
    assert [each.batch_size for each in found.baseline.timings] == [2, 4]
    at = found.baseline.at(4)
    assert at is not None
    assert found.speedup == at.speedup
    assert found.timing(found.baseline) == at.timing
    (table,) = [rows for title, _, rows in report_tables(found) if title == "Batch sizes"]
    assert [row[-1] for row in table] == ["", "2.00x", "2.00x"]


def test_a_baseline_keeps_the_host_that_it_was_measured_on(tmp_path: Path) -> None:
    """Through any number of reports, each of which took it from the one before."""
    path = tmp_path / "report.json"
    first = evaluate(
        NumpyModel(), DATA, EvaluateOptions(8, None), baseline=NumpyModel(one_of_twenty_wrong)
    )
    elsewhere = replace(first.environment, cpu="another CPU", gpu=None)
    replace(first, environment=elsewhere).save(path)
    for _ in range(2):
        again = evaluate(NumpyModel(), DATA, EvaluateOptions(8, None), baseline=path)
        assert again.baseline is not None
        assert again.baseline.recorded_on == "another CPU"
        assert again.baseline.name == "numpy (recorded on another CPU)"
        again.save(path)


def test_a_report_without_baseline_is_one_itself(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    alone = evaluate(NumpyModel(), DATA, EvaluateOptions(8, None))
    path.write_text(json.dumps(alone.to_dict()))
    found = against(path)
    assert found.baseline is not None
    assert found.baseline.accuracy is not None
    assert found.baseline.accuracy.top1 == 20
    with pytest.raises(UsageError, match="has no latency"):
        against(path, min_speedup=1.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no report of trtqat eval"),
        ("[]", "no report of trtqat eval"),
        ('{"schema_version": 1, "model": {}}', "schema 1, which has no predictions"),
        ('{"schema_version": 1, "graph": "m.onnx"}', "no report of trtqat eval"),
        ('{"schema_version": 2, "baseline": null, "model": {}}', "no report of trtqat eval"),
    ],
)
def test_other_files(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(UsageError, match="cannot be read"):
        read_baseline(path)
    path.write_text(text)
    with pytest.raises(UsageError, match=problem) as caught:
        read_baseline(path)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": 99}, "schema 99, newer than this trtqat knows"),
        ({"images": 21}, "20 predictions for 21 images"),
        ({"images": "many"}, "no report of trtqat eval"),
    ],
)
def test_reports_that_contradict_themselves(
    change: dict[str, Any], problem: str, recorded: Path
) -> None:
    recorded.write_text(json.dumps({**json.loads(recorded.read_text()), **change}))
    with pytest.raises(UsageError, match=problem):
        read_baseline(recorded)


# Places in a report.
BASELINE: tuple[str | int, ...] = ("contenders", 1)
TIMING = (*BASELINE, "timings", 0, "timing")
CLASSES = (*BASELINE, "predictions", "classes")


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("schema_version",), True, "'schema_version' is true or false"),
        (("schema_version",), "5", "'schema_version' is '5'"),
        (("schema_version",), -5, "'schema_version' is -5"),
        (("images",), 2.5, "'images' is a number, not a whole number"),
        (("batch_size",), 0, "'batch_size' is 0"),
        (("contenders",), None, "'contenders' is null, not a list"),
        (("contenders",), [], "not one of its contenders is the subject"),
        (("contenders", 0, "role"), "baseline", "not one of its contenders is the subject"),
        (("contenders", 1, "role"), "judge", r"'contenders\[1\].role' is 'judge', not 'subject'"),
        (("contenders", 1), [], r"'contenders\[1\]' is a list"),
        ((*BASELINE, "name"), None, r"'contenders\[1\].name' is null, not text"),
        ((*BASELINE, "device"), "tpu", r"\[1\].device' is 'tpu', not 'cpu' or 'cuda'"),
        ((*BASELINE, "accuracy"), [20, 20, 20], r"\[1\].accuracy' is a list"),
        ((*BASELINE, "accuracy", "top5"), "x", r"\[1\].accuracy.top5' is 'x'"),
        ((*BASELINE, "accuracy", "top5"), 5, "5 of 20 images right among five"),
        ((*TIMING, "compute"), None, r"timings\[0\].timing.compute' is null"),
        ((*TIMING, "compute", "median_ms"), "inf", "median_ms' is 'inf', not a number"),
        ((*TIMING, "compute", "median_ms"), 0, "median compute time is not positive"),
        ((*TIMING, "request", "min_ms"), -1.0, "a latency is negative"),
        ((*TIMING, "compute", "count"), 0, "was measured in no query"),
        ((*TIMING, "compute", "interval_ms"), {"low": 2.0, "high": 1.0}, "a latency is negative"),
        ((*TIMING, "warnings"), "text", "warnings' is 'text', not a list"),
        ((*BASELINE, "predictions"), None, r"\[1\].predictions' is null"),
        (CLASSES, [1], r"\[1\].predictions.classes' is a list, not text"),
        (CLASSES, "1 2 x", "invalid literal"),
        (CLASSES, "-2 " * 20, "a prediction is no class"),
        (CLASSES, "9" * 5000, "no report of trtqat eval"),
        (("environment", "gpu"), {"name": 5}, "'environment.gpu.name' is a whole number"),
        ((*BASELINE, "timings"), {"batch_size": 1}, r"timings' is an object, not a list"),
        ((*BASELINE, "timings", 0, "batch_size"), -1, "'batch_size' is -1"),
    ],
)
def test_fields_of_another_type_or_beyond_what_they_can_be(
    place: tuple[str | int, ...], value: object, says: str, recorded: Path
) -> None:
    report = holder = json.loads(recorded.read_text())
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    recorded.write_text(json.dumps(report))
    with pytest.raises(UsageError, match=says) as caught:
        read_baseline(recorded)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nests more than"),
        ('{"schema_version": 5, "schema_version": 5}', "is there twice"),
        ('{"schema_version": 1e400}', "'schema_version' is a number, not a whole number"),
    ],
)
def test_json_that_no_eval_writes(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_baseline(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UsageError, match="It is a pipe, not a file"):
        read_baseline(path)


@pytest.mark.parametrize("top1", [-1, 21, 999999])
def test_more_right_than_there_are(top1: int, recorded: Path) -> None:
    report = json.loads(recorded.read_text())
    report["contenders"][1]["accuracy"]["top1"] = top1
    recorded.write_text(json.dumps(report))
    with pytest.raises(UsageError, match=f"{top1} of 20 of 20 images right"):
        read_baseline(recorded)


@given(st.lists(st.integers(-1, 10**6)))
def test_predictions_survive_the_file(classes: list[int]) -> None:
    assert unpack(pack(tuple(classes))) == tuple(classes)


def test_outputs_that_are_no_classes(tmp_path: Path) -> None:
    """Of such a baseline only the latency is compared."""
    path = tmp_path / "report.json"
    model = NumpyModel(lambda x: np.stack([x, x], axis=1), compute_ms=20.0)
    report = evaluate(model, Samples(X, None), EvaluateOptions(8, QUICK))
    path.write_text(json.dumps(report.to_dict()))
    found = evaluate(
        NumpyModel(lambda x: np.stack([x, x], axis=1), compute_ms=10.0),
        Samples(X, None),
        EvaluateOptions(8, QUICK),
        baseline=path,
    )
    assert found.subject.to_baseline is None
    assert found.speedup is not None
    assert found.speedup.value == pytest.approx(2.0)
