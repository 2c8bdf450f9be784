"""Detections that a function of the user's makes of the outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.detection_cases import as_outputs, make_case
from trtqat.errors import DataError, UsageError
from trtqat.evaluation.metrics.detection import MeanAveragePrecision
from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.metrics.named import parse_metric


def value_of(metric: Metric, outputs: Any, labels: Any) -> float:
    kept = metric.per_sample(outputs, labels)
    return float(metric.values(kept, np.ones((1, len(labels))))[0])


def test_a_function_of_the_users_decodes(tmp_path: Path) -> None:
    found, labels = make_case(7, 20)
    (tmp_path / "heads.py").write_text(
        "def decode(outputs):\n"
        "    rows = outputs['raw']\n"
        "    return [\n"
        "        {'boxes': row[:n, :4], 'scores': row[:n, 4], 'classes': row[:n, 5]}\n"
        "        for row, n in zip(rows, outputs['n'])\n"
        "    ]\n"
        "def one(outputs):\n    return {'boxes': 1}\n"
        "def short(outputs):\n    return []\n"
        "def other(outputs):\n    return [1] * 20\n"
        "def apart(outputs):\n    return [{'boxes': 1, 'scores': [1, 2], 'classes': [1]}] * 20\n"
        "def fails(outputs):\n    return outputs['z']\n"
    )
    usual = as_outputs(found)
    columns = [usual[f"detection_{name}"] for name in ("scores", "classes")]
    raw = np.concatenate([usual["detection_boxes"], *(each[..., None] for each in columns)], axis=2)
    outputs = {"raw": raw, "n": usual["num_detections"][:, 0]}
    expected = value_of(MeanAveragePrecision(), usual, labels)
    metric = parse_metric(f"map:decode={tmp_path / 'heads.py'}:decode")
    assert value_of(metric, outputs, labels) == pytest.approx(expected)
    assert metric.spec == "map:decode=heads.py:decode"
    for name, message in {
        "one": "returned a dict for 20 samples",
        "short": "returned 0 of them for 20 samples",
        "other": "returned a int for a sample",
        "apart": r"boxes of \(\), scores of \(2,\)",
        "fails": "raised KeyError when it decoded a batch",
    }.items():
        metric = parse_metric(f"map:decode={tmp_path / 'heads.py'}:{name}")
        with pytest.raises(DataError, match=message):
            metric.per_sample(outputs, labels)
    with pytest.raises(UsageError, match="There is no 'missing'"):
        parse_metric(f"map:decode={tmp_path / 'heads.py'}:missing")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("'classes': ['cat'] * 3", "returned classes of <U3 for a sample"),
        ("'scores': ['a'] * 3", "returned scores of <U1 for a sample"),
        ("'scores': [None] * 3", "returned scores of object for a sample"),
        ("'boxes': [[1, 2, 3, 4], [1, 2]]", "raised ValueError when its boxes became an array"),
        ("'boxes': Stubborn()", "raised RuntimeError when its boxes became an array: call detach"),
    ],
)
def test_what_is_no_array_of_numbers(tmp_path: Path, changed: str, message: str) -> None:
    (tmp_path / "heads.py").write_text(
        # As a tensor of PyTorch that requires grad.
        "class Stubborn:\n"
        "    def __array__(self, *args, **kwargs):\n        raise RuntimeError('call detach')\n"
        "def decode(outputs):\n"
        "    found = {'boxes': [[1, 2, 3, 4]] * 3, 'scores': [1] * 3, 'classes': [0] * 3}\n"
        f"    return [{{**found, {changed}}}]\n"
    )
    _, labels = make_case(7, 1)
    metric = parse_metric(f"map:decode={tmp_path / 'heads.py'}:decode")
    with pytest.raises(DataError, match=rf"heads\.py:decode {message}") as caught:
        metric.per_sample({"y": np.ones((1, 3))}, labels)
    assert caught.value.remedy
