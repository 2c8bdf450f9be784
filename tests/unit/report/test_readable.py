"""The report that users get: it prints itself, and writes its page and its JSON."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trtqat
from tests.support.measured import DATA, QUICK, NumpyModel
from trtqat.evaluation import evaluate as measuring
from trtqat.evaluation.recorded import read_baseline
from trtqat.evaluation.report import Report
from trtqat.report.readable import ReadableReport, evaluate
from trtqat.tensors import Array


def wrong_at_3(x: Array) -> Array:
    return np.where(np.arange(len(x))[:, None] == 3, -x, x)


@pytest.fixture
def report() -> ReadableReport:
    return evaluate(
        NumpyModel(wrong_at_3, compute_ms=10.0),
        DATA,
        batch_size=8,
        latency=QUICK,
        sweep=(2, 4),
        baseline=NumpyModel(compute_ms=20.0),
        rivals=[NumpyModel(compute_ms=30.0)],
    )


def test_it_prints_its_tables(report: ReadableReport) -> None:
    lines = str(report).splitlines()
    assert lines[0].startswith("| 20 images, batch 8")
    (speedup,) = [line for line in lines if line.startswith("| speed-up")]
    assert "2.00x (2.00 … 2.00)" in speedup
    assert any("3.00x (3.00 … 3.00) as fast" in line for line in lines)
    tables = [line for line in lines if line.startswith("|")]
    assert [line.count("|") for line in tables if "batch |" in line or "instead |" in line] == [
        8,
        8,
    ]
    # Every row of a table is as wide as its head.
    assert len({len(line) for line in lines[:3]}) == 1
    assert any(line.startswith("samples; ") for line in lines)
    # What spoils it stands at the end.
    assert "position 3 of the batch are wrong" in lines[-1]


def test_names_are_shown_and_not_obeyed(report: ReadableReport) -> None:
    subject = replace(report.subject, name="a\x1b[2Jb|c\nd")
    shown = str(replace(report, contenders=(subject, *report.contenders[1:])))
    assert r"a\x1b[2Jb\|c\nd" in shown
    assert "\x1b" not in shown


def test_the_page_and_the_notebook_are_one(report: ReadableReport, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    report.html(str(path))
    assert path.read_text() == report._repr_html_()
    assert "computes 2.00 times as fast" in path.read_text()
    # No command made it.
    assert "<h2>Again</h2>" not in path.read_text()
    made = replace(report, command="trtqat eval m.onnx")
    assert "<pre>trtqat eval m.onnx</pre>" in made._repr_html_()


def test_it_is_the_report_that_was_measured(report: ReadableReport, tmp_path: Path) -> None:
    assert isinstance(report, Report)
    assert type(report) is trtqat.Report
    assert isinstance(replace(report, command="x"), ReadableReport)
    assert "\n" not in repr(report)
    report.save(tmp_path / "r.json")
    assert read_baseline(tmp_path / "r.json").timings[0].batch_size == 2


def test_it_takes_what_measuring_takes() -> None:
    ours, theirs = inspect.signature(evaluate), inspect.signature(measuring.evaluate)
    assert ours.parameters == theirs.parameters
    assert evaluate.__doc__ == measuring.evaluate.__doc__
