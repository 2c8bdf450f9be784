"""An engine whose kernels are compiled where it is loaded: how long that takes is told apart."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.support.measured import Samples
from tests.support.rtx_card import CONTEXT_S, QUERY_S, SHAPE_S, Card
from trtqat.evaluation import latency, measure, speed, timed, timed_apart
from trtqat.evaluation.recorded import read_baseline
from trtqat.evaluation.report import report_schema
from trtqat.evaluation.timing import LatencyOptions
from trtqat.host.environment import Environment
from trtqat.report.readable import ReadableReport, evaluate
from trtqat.runtime.engine import Engine

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card(monkeypatch)
    for module in (latency, timed):
        monkeypatch.setattr(module, "time", card.clock)
    # Another process has another card.
    monkeypatch.setattr(timed_apart, "opens_apart", lambda model: False)
    here = Environment("Linux-x86_64", "3.11", "a CPU", {})
    monkeypatch.setattr(measure, "describe_environment", lambda *, with_gpu: here)
    monkeypatch.setattr(speed, "watch_gpu", contextlib.nullcontext)
    return card


def evaluated(plan: Path, **options: Any) -> ReadableReport:
    with Engine(plan) as engine:
        return evaluate(engine, Samples(X, X.argmax(axis=1)), batch_size=8, **options)


def test_compiling_is_in_no_time(card: Card, tmp_path: Path) -> None:
    report = evaluated(tmp_path / "m.engine", latency=LatencyOptions(0, 0), sweep=(2,))
    subject = report.subject
    assert subject.library == "TensorRT for RTX 1.7.1.116"
    # The last batch is of four.
    assert {each.batch_size for each in subject.compilations} == {8, 4, 2}
    found = subject.compilation(8)
    assert found is not None
    assert found.seconds > CONTEXT_S + SHAPE_S
    for at in subject.timings:
        for figure in (at.timing.compute, at.timing.request, at.timing.enqueue):
            assert figure is not None
            assert figure.max_ms < 1e3 * SHAPE_S
        assert at.timing.compute.median_ms == pytest.approx(1e3 * QUERY_S, rel=0.1)


def test_it_has_a_row_of_its_own(card: Card, tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    first, again = (str(evaluated(plan, latency=LatencyOptions(0, 0))) for _ in range(2))
    for shown, cell in ((first, "5.00 s"), (again, "0.00 s, with a runtime cache")):
        (row,) = [each for each in shown.splitlines() if "kernels compiled" in each]
        assert [part.strip() for part in row.split("|")[2:-1]] == [cell]
        assert " TensorRT for RTX 1.7.1.116 |" in shown
        assert " CUDA graph of TensorRT for RTX |" in shown
        assert "built and inspected, not run" in shown.splitlines()[-1]
    page = evaluated(plan)._repr_html_()
    assert "kernels compiled before" in page
    assert "built and inspected, not run" in page


def test_each_batch_size_has_its_own(card: Card, tmp_path: Path) -> None:
    shown = str(evaluated(tmp_path / "m.engine", latency=LatencyOptions(0, 0), sweep=(2,)))
    lines = shown.splitlines()
    (head,) = [each for each in lines if each.startswith("| batch ")]
    assert "kernels compiled before" in head
    rows = [lines[lines.index(head) + 2 + place] for place in range(2)]
    assert ["2.00 s" in rows[0], "5.00 s" in rows[1]] == [True, True]


def test_it_is_told_without_a_timing(card: Card, tmp_path: Path) -> None:
    assert "| kernels compiled" in str(evaluated(tmp_path / "m.engine", latency=None))


def test_it_is_in_the_file_and_an_older_one_lacks_it(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report = evaluated(tmp_path / "m.engine")
    report.save(path)
    fields = json.loads(path.read_text())
    jsonschema.validate(fields, report_schema())
    assert fields["contenders"][0]["compilations"][0]["from_cache"] is False
    assert read_baseline(path).compilations == report.subject.compilations
    for name in ("compilations", "library"):
        del fields["contenders"][0][name]
    path.write_text(json.dumps(fields))
    assert read_baseline(path).compilations == ()


def test_nothing_is_said_of_what_was_compiled_before(card: Card, tmp_path: Path) -> None:
    report = evaluated(tmp_path / "m.engine", latency=LatencyOptions(0, 0), sweep=(2,))
    bare = replace(report.subject, compilations=(), library=None)
    shown = str(replace(report, contenders=(bare,)))
    assert "kernels compiled" not in shown
    assert "run by" not in shown
    assert "not run" not in shown
