"""The report's JSON schema: up to date, and true of reports."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import trtqat.evaluation.report
from tests.support.measured import NumpyModel, Samples, make_samples
from trtqat.cli.output import print_json
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.intervals import Interval
from trtqat.evaluation.layers import LayerTime
from trtqat.evaluation.locate import Located
from trtqat.evaluation.locate_differences import StepLoss
from trtqat.evaluation.locate_layers import LayerLoss
from trtqat.evaluation.locate_steps import LocatedInSteps, Probe, TensorLoss
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.report import report_schema
from trtqat.evaluation.timing import LatencyOptions, Throughput
from trtqat.evaluation.trtexec import from_times
from trtqat.host.gpu import Gpu
from trtqat.host.telemetry import GpuState, Telemetry
from trtqat.runtime.trtexec_loop import QueryTimes

FILE = Path(trtqat.evaluation.report.__file__).with_name("report.schema.json")


def full_report() -> dict[str, Any]:
    """A report as from a GPU: nothing in it is None or empty."""
    x, labels = make_samples(20)
    report = evaluate(
        NumpyModel(),
        Samples(x, labels),
        EvaluateOptions(8, LatencyOptions(0, 0), sweep=(4,), metrics=("top1",)),
        baseline=NumpyModel(),
        rivals=[NumpyModel()],
        steps=[NumpyModel()],
    )
    (small, large), others = report.subject.timings, report.contenders[1:]
    copies = large.timing.compute
    timing = replace(
        large.timing,
        enqueue=copies,
        h2d=copies,
        d2h=copies,
        throughput=Throughput(1e4, Interval(9e3, 2e4), 6, 100, 8),
        warnings=("Unstable.",),
    )
    state = GpuState(1980, 40, 300.0, ("power limit",))
    times = QueryTimes((0.1, 0.2), (1.0, 2.0), (0.1, 0.1), (0.01, 0.01), 1.0)
    report = replace(
        report,
        contenders=(
            replace(report.subject, timings=(small, replace(large, timing=timing))),
            *others,
        ),
        environment=replace(report.environment, gpu=Gpu("A GPU", "9.0", "580", "13.0", 1980, 1980)),
        telemetry=Telemetry(state, state, 1900, 1980, 1980, ("power limit",), 0.5, 10),
        trtexec=from_times(times, "trtexec-10", "plain enqueue"),
        failed_gates=("The speed-up is 1.00, less than 2.",),
        latency_budget_ms=5.0,
        best_batch=8,
        located=Located(
            (LayerLoss("/conv", "Conv", math.inf, 0.0, ("float-residual",)),),
            LocatedInSteps(
                (TensorLoss("/conv", "/q", None, StepLoss(math.nan, 0.0, 0.0, 0), ()),),
                Probe(3, ("/conv",), 2, math.inf),
                from_pytorch=True,
            ),
        ),
        layers=(LayerTime("/conv", "int8", 0.1),),
        command="trtqat eval",
    )
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        print_json(report.to_dict(), "-")
    loaded: dict[str, Any] = json.loads(written.getvalue())
    return loaded


def test_the_file_is_up_to_date() -> None:
    assert json.loads(FILE.read_text()) == report_schema(), (
        "python -m trtqat.evaluation.report > trtqat/evaluation/report.schema.json"
    )


def test_it_is_a_schema_and_true_of_reports() -> None:
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    report = full_report()
    jsonschema.validate(report, schema)
    assert report["located"]["layers"][0]["sqnr_db"] == "inf"
    assert report["located"]["steps"]["tensors"][0]["engine"]["sqnr_db"] == "nan"
    # No part is left out because this report has none of it.
    assert not {name for name, part in report.items() if part in (None, [], {})}
    bare = evaluate(NumpyModel(), Samples(make_samples(9)[0], None), EvaluateOptions(8, None))
    jsonschema.validate(json.loads(json.dumps(bare.to_dict())), schema)


def test_it_finds_what_is_missing_or_new() -> None:
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda report: report["contenders"][0]["timings"][1]["timing"]["compute"].pop("mean_ms"),
        lambda report: report["contenders"][1]["predictions"].pop("classes"),
        lambda report: report["contenders"][1]["metrics"][0]["samples"]["rows"].pop("data"),
        lambda report: report["contenders"][1]["predictions"].update(classes=[1, 2]),
        lambda report: report["contenders"][3].update(new=1),
        lambda report: report["contenders"][2].pop("name"),
        lambda report: report["contenders"][2].update(role="judge"),
        lambda report: report["environment"].update(gpu="a GPU"),
        lambda report: report.update(schema_version=2),
    ]
    validator, sound = jsonschema.Draft202012Validator(report_schema()), full_report()
    validator.validate(sound)
    for change in changes:
        report = copy.deepcopy(sound)
        change(report)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(report)
