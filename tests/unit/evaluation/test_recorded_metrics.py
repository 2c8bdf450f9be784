"""Metrics that are paired with those of a recorded baseline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.measured import NumpyModel, Samples
from tests.support.measured_figures import CLASSES, OPTIONS, X, doubled, measured
from trtqat.errors import DataError, UsageError
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.metrics.named import parse_metric
from trtqat.evaluation.recorded import read_baseline
from trtqat.evaluation.report import Report
from trtqat.search.asked_metric import parts_of_key
from trtqat.tensors import Array


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


def test_a_record_without_right_answers_has_no_accuracy_to_drop(tmp_path: Path) -> None:
    data = Samples(X, CLASSES)
    path = recorded(tmp_path, data=data, metrics=["top3"])
    with pytest.raises(UsageError, match="has no count of right answers") as raised:
        measured(data=data, baseline=path, max_accuracy_drop=0.5)
    assert "--metric top1" in raised.value.remedy
    counted = recorded(tmp_path, data=data, metrics=["top1", "top3"])
    found = measured(data=data, baseline=counted, max_accuracy_drop=0.5)
    assert found.top1_drop_points is not None


SCORE = "import numpy as np\n\ndef score(outputs, labels):\n    return np.full(len(labels), {})\n"


def test_a_record_of_another_file_of_that_name(tmp_path: Path) -> None:
    pointers = []
    for folder, value in (("there", 1), ("here", 1), ("other", 2)):
        file = tmp_path / folder / "a.py"
        file.parent.mkdir()
        file.write_text(SCORE.format(value))
        pointers.append(f"{file}:score")
    there, here, other = pointers
    path = recorded(tmp_path, metrics=[there])
    assert measured(baseline=path, metrics=[here]).subject.metrics[0].to_baseline is not None
    with pytest.raises(DataError, match=r"recorded with another a\.py:score: something else"):
        measured(baseline=path, metrics=[other])
    # A report from before that was written down.
    fields = json.loads(path.read_text())
    for each in fields["contenders"]:
        assert len(each["metrics"][0].pop("files_sha256")) == 1
    path.write_text(json.dumps(fields))
    assert measured(baseline=path, metrics=[other]).subject.metrics[0].to_baseline is not None


@pytest.mark.parametrize(
    ("name", "text"),
    [("cer:characters={}", "a\nb\n"), ("cer:decode={}:read", "def read(outputs):\n    pass\n")],
)
def test_files_that_an_option_names_are_part_of_a_metric(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boxes").write_text("No option of map names a file but decode.")
    assert parse_metric("map:boxes=boxes").files_sha256 == ()
    file = tmp_path / "a.py"
    file.write_text(text)
    metric = parse_metric(name.format(file))
    assert metric.files_sha256 == (hashlib.sha256(text.encode()).hexdigest(),)
    # A search that was interrupted does not go on with other characters either.
    key = parts_of_key(metric)
    file.write_text(f"{text}\n")
    assert parts_of_key(metric) != key


def test_a_record_with_more_classes(tmp_path: Path) -> None:
    """Its statistics are others, and no difference of the two means anything."""
    masks = Samples(X, CLASSES[:, None, None])
    path = tmp_path / "report.json"

    def found(classes: int, baseline: Path | None = None) -> Report:
        def scores(x: Array) -> Array:
            return np.pad(x, [(0, 0), (0, classes - 7)])[:, :, None, None]

        return evaluate(NumpyModel(scores), masks, OPTIONS, metrics=["miou"], baseline=baseline)

    found(9).save(path)
    assert found(9, path).subject.metrics[0].to_baseline is not None
    with pytest.raises(DataError, match=r"recorded with .* of miou, and here there are"):
        found(8, path)


def test_a_record_of_fewer_samples_than_it_says(tmp_path: Path) -> None:
    path = recorded(tmp_path, metrics=["psnr"])
    fields = json.loads(path.read_text())
    fields["images"] += 1
    fields["contenders"][1]["predictions"]["classes"] = ""
    path.write_text(json.dumps(fields))
    with pytest.raises(UsageError, match="the psnr is not of 51 images"):
        read_baseline(path)


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
