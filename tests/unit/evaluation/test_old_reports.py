"""Reports that earlier versions wrote: a baseline is read of them, or the field is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trtqat.errors import UsageError
from trtqat.evaluation.recorded import read_baseline

SHIPPED = Path(__file__).parents[2] / "data" / "shipped" / "report-schema-6.json"
SIDE = ("baseline",)
TIMING = (*SIDE, "timing")
CLASSES = ("predictions", "baseline")


@pytest.fixture
def fields() -> Any:
    """Of 40 images, of which the baseline gets 6 right."""
    return json.loads(SHIPPED.read_text())


def test_a_report_without_baseline_is_one_itself(fields: Any, tmp_path: Path) -> None:
    fields["baseline"] = None
    path = tmp_path / "report.json"
    path.write_text(json.dumps(fields))
    found = read_baseline(path)
    assert found.name == "small.onnx (recorded on AMD EPYC)"
    assert (found.role, found.recorded_on, found.size_bytes) == ("baseline", "AMD EPYC", None)
    assert [each.batch_size for each in found.timings] == [4, 8]
    at = found.at(8)
    assert at is not None
    assert at.timing.mode == "ONNX Runtime, CPU, wall clock"
    assert at.speedup is None


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("images",), 2.5, "'images' is a number, not a whole number"),
        (("images",), 21, "40 predictions for 21 images"),
        (("batch_size",), 0, "'batch_size' is 0"),
        (SIDE, [], "'baseline' is a list"),
        ((*SIDE, "name"), None, "'baseline.name' is null, not text"),
        ((*SIDE, "device"), "tpu", "'baseline.device' is 'tpu', not 'cpu' or 'cuda'"),
        ((*SIDE, "accuracy"), [20, 20, 20], "'baseline.accuracy' is a list"),
        ((*SIDE, "accuracy", "top5"), "x", "'baseline.accuracy.top5' is 'x'"),
        ((*SIDE, "accuracy", "top5"), 5, "5 of 40 images right among five"),
        ((*SIDE, "accuracy", "top1"), -1, "-1 of 40 of 40 images right"),
        ((*SIDE, "accuracy", "top1"), 41, "41 of 40 of 40 images right"),
        ((*TIMING, "compute"), None, "'baseline.timing.compute' is null"),
        ((*TIMING, "compute", "median_ms"), "inf", "median_ms' is 'inf', not a number"),
        ((*TIMING, "request", "min_ms"), "x", "min_ms' is 'x', not a number"),
        ((*TIMING, "warnings"), "text", "warnings' is 'text', not a list"),
        (("curve", 1, "baseline", "compute", "median_ms"), 0, "time is not positive"),
        (("curve", 1, "baseline", "request", "min_ms"), -1.0, "a latency is negative"),
        (("predictions",), None, "'predictions' is null"),
        (CLASSES, [1], "'predictions.baseline' is a list, not text"),
        (CLASSES, "1 2 x", "invalid literal"),
        (CLASSES, "-2 " * 40, "a prediction is no class"),
        (CLASSES, "9" * 5000, "no report of trtqat eval"),
        (("environment", "gpu"), {"name": 5}, "'environment.gpu.name' is a whole number"),
        (("curve",), {"batch_size": 1}, "'curve' is an object, not a list"),
    ],
)
def test_fields_of_another_type_or_beyond_what_they_can_be(
    place: tuple[str | int, ...], value: object, says: str, fields: Any, tmp_path: Path
) -> None:
    holder = fields
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    path = tmp_path / "report.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(UsageError, match=says) as caught:
        read_baseline(path)
    assert caught.value.remedy
