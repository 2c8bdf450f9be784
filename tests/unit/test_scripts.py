"""What scripts/ is for: models that are pointed to and imported, and summaries of reports."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import summarize
from trtqat.pointers import load_pointer

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "tests" / "data" / "shipped"


@pytest.mark.parametrize("name", ["mobilenet", "resnet", "vit"])
def test_a_model_is_pointed_to_by_its_path_and_imported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    factory = load_pointer(f"{ROOT}/scripts/models/{name}.py:qat")
    assert factory.__module__ == f"scripts.models.{name}"
    module = importlib.import_module(f"scripts.models.{name}")
    # One module, so that a model's classes are the same whichever way it came.
    assert factory.__wrapped__ is module.qat  # type: ignore[attr-defined]


def test_no_script_edits_the_path_of_imports() -> None:
    sources = sorted((ROOT / "scripts").rglob("*.py"))
    assert sources
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"), path


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    source = SHIPPED / "report-schema-6.json"
    output = tmp_path / "summary.json"
    monkeypatch.setattr(
        sys, "argv", ["summarize", str(source), "--output", str(output), "--commit", "abc"]
    )
    summarize.main()
    return json.loads(output.read_text())


def figures(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from figures(each)
    elif isinstance(value, list):
        for each in value:
            yield from figures(each)
    elif isinstance(value, float):
        yield float(f"{value:.6g}")


def test_a_summary_has_the_figures_of_its_report(summary: Any) -> None:
    report = json.loads((SHIPPED / "report-schema-6.json").read_text())
    assert summary["commit"] == "abc"
    assert summary["command"] == report["command"]
    assert summary["environment"]["packages"] == report["environment"]["packages"]
    compute, whole = summary["model"]["timing"]["compute"], report["model"]["timing"]["compute"]
    assert compute["median_ms"] == pytest.approx(whole["median_ms"], rel=1e-5)
    assert compute["p99_ms"] == pytest.approx(whole["p99_ms"], rel=1e-5)
    assert set(compute) == {"median_ms", "interval_ms", "p99_ms"}
    found = set(figures(summary))
    assert len(found) > 10
    assert found <= set(figures(report))


def test_what_is_left_out_of_a_summary() -> None:
    layers = [{"name": f"conv{n}", "operator": "Conv", "time_ms": n / 7} for n in range(9)]
    costs = [{"name": f"conv{n}", "sqnr_db": None if n == 0 else n / 7} for n in range(9)]
    report = {
        "layers": layers,
        "drift": {"layers": costs},
        "warnings": ["slow"] * 8,
        "predictions": {"model": [1, 2], "data_sha256": "0a"},
        "batch_size": 2,
        "curve": [{"batch_size": 1, "speedup": 2.0}, {"batch_size": 2, "speedup": 3.0}],
        "trtexec": None,
        "throttled_share": 0.0,
    }
    assert summarize.summarize(report) == {
        "layers": {"count": 9, "operator": {"Conv": 9}},
        "drift": {
            "layers": [{**each, "sqnr_db": summarize.summarize(each["sqnr_db"])} for each in costs]
        },
        "warnings": {"count": 8, "of": {"slow": 8}},
        "batch_size": 2,
        "curve": [{"batch_size": 1, "speedup": 2.0}],
        "throttled_share": 0.0,
        "data_sha256": "0a",
    }


def test_the_gaps_of_a_roofline_come_with_their_figures() -> None:
    layers = [{"name": f"conv{n}", "floor_ms": n / 8, "time_ms": n / 4} for n in range(9)]
    found = summarize.summarize({"layers": layers, "largest_gaps": ["conv8", "conv7"]})
    assert found == {"layers": {"count": 9}, "largest_gaps": [layers[8], layers[7]]}


def test_a_summary_is_read_as_it_was_written() -> None:
    value = {"a": [1, {"b": "x" * 500, "ü": [float("inf")]}], "c": {}}
    assert json.loads(summarize.written(value)) == value
    assert summarize.written({"a": [1, 2]}) == '{"a": [1, 2]}'
