"""The report's JSON schema: up to date, and true of reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import trtqat.evaluation.schema
from tests.unit.test_accuracy import NumpyModel, Samples, make_samples
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.schema import report_schema
from trtqat.evaluation.timing import LatencyOptions

FILE = Path(trtqat.evaluation.schema.__file__).with_name("report.schema.json")


def full_report() -> dict[str, Any]:
    x, labels = make_samples(20)
    report = evaluate(
        NumpyModel(),
        Samples(x, labels),
        EvaluateOptions(8, LatencyOptions(0, 0), sweep=(4,)),
        baseline=NumpyModel(),
        rivals=[NumpyModel()],
        steps=[NumpyModel()],
    )
    found = {"command": "trtqat eval", **report.to_dict(), "drift": [], "layers": []}
    loaded: dict[str, Any] = json.loads(json.dumps(found).replace("Infinity", "null"))
    return loaded


def test_the_file_is_up_to_date() -> None:
    assert json.loads(FILE.read_text()) == report_schema(), (
        "python -m trtqat.evaluation.schema > trtqat/evaluation/report.schema.json"
    )


def test_it_is_a_schema_and_true_of_reports() -> None:
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    report = full_report()
    jsonschema.validate(report, schema)
    bare = evaluate(NumpyModel(), Samples(make_samples(9)[0], None), EvaluateOptions(8, None))
    jsonschema.validate(
        {"command": "", **json.loads(json.dumps(bare.to_dict())), "drift": [], "layers": []}, schema
    )


def test_it_finds_what_is_missing_or_new() -> None:
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda report: report["model"]["timing"]["compute"].pop("mean_ms"),
        lambda report: report["predictions"].pop("model"),
        lambda report: report["rivals"][0].update(new=1),
        lambda report: report["steps"][1].pop("name"),
        lambda report: report["environment"].update(gpu="a GPU"),
        lambda report: report.update(schema_version=2),
    ]
    for change in changes:
        report = full_report()
        change(report)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(report, report_schema())
