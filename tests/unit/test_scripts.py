"""What scripts/ is for: models that are pointed to and imported, and summaries of reports."""

from __future__ import annotations

import ast
import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from scripts import summarize
from scripts.fashion_mnist.prepare import IMAGES
from trtqat.cli.app import app
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


# A program that does nothing, and says how it was called.
RECORDER = """#!/usr/bin/env bash
printf '%q ' "${0##*/}" "$@" >> "$RECORD"
echo >> "$RECORD"
"""


class TestDemo:
    """What it would do; the commands themselves have tests of their own."""

    def called(self, folder: Path, *arguments: object) -> list[list[str]]:
        """What it calls, word by word."""
        programs = folder / "bin"
        programs.mkdir()
        for name in ("python", "trtqat"):
            (programs / name).write_text(RECORDER)
            (programs / name).chmod(0o755)
        (folder / "scripts").mkdir()
        for name in ("demo", "environment"):
            shutil.copy(ROOT / "scripts" / name, folder / "scripts")
        record = folder / "record"
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(folder),
            "RECORD": str(record),
        }
        command = ["bash", str(folder / "scripts" / "demo"), *map(str, arguments)]
        subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
        return [shlex.split(line) for line in record.read_text().splitlines()]

    def commands(self, called: list[list[str]]) -> list[tuple[str, dict[str, Any]]]:
        """Those of trtqat, by the parameters that its own parser reads."""
        group = typer.main.get_command(app)
        assert isinstance(group, TyperGroup)
        return [
            (words[1], group.commands[words[1]].make_context(words[1], words[2:]).params)
            for words in called
            if words[0] == "trtqat"
        ]

    def trained(self, called: list[list[str]]) -> Any:
        """The options of the training, by its own parser."""
        (words,) = [each for each in called if each[0] == "python" and "train" in each[2]]
        return importlib.import_module(words[2])._parser().parse_args(words[3:])

    def test_fashion_mnist_goes_the_users_road(self, tmp_path: Path) -> None:
        data = tmp_path / "fashion mnist"
        data.mkdir()
        called = self.called(tmp_path, "--fashion-mnist", data.name)
        training, commands = self.trained(called), self.commands(called)
        assert training.data == data
        names = [name for name, _ in commands]
        assert names == ["quantize", "export", "build", "build", "eval", "eval"]
        quantize, export, rtx, build, engine, graph = (given for _, given in commands)
        (model,), (stage,) = training.models, training.stages
        fp32 = str(training.output / model / f"{stage}.pt")
        assert [str(each["checkpoint"]) for each in (quantize, engine, graph)] == [fp32] * 3
        assert quantize["data"] == engine["data"] == graph["data"] == f"idx:{data}"
        assert quantize["source"] == export["source"] == engine["baseline"] == graph["baseline"]
        assert quantize["source"].endswith(f":{model}")
        assert export["checkpoint"] == quantize["output"]
        assert rtx["graph"] == build["graph"] == graph["model"] == export["output"]
        assert (rtx["for_"], rtx["require_int8"]) == ("rtx", True)
        assert engine["model"] == build["output"]

    def test_digits_stay(self, tmp_path: Path) -> None:
        called = self.called(tmp_path, "--fashion-mnist", tmp_path, "--digits", "--no-rtx")
        training, commands = self.trained(called), self.commands(called)
        assert [name for name, _ in commands] == ["export", "build", "eval", "eval"]
        export, build, *evals = (given for _, given in commands)
        assert str(training.output / "qat.pt") == str(export["checkpoint"])
        assert build["for_"] != "rtx"
        for given in evals:
            assert given["data"] == f"cifar10:{training.data}"

    def test_the_package_decides(self, tmp_path: Path) -> None:
        data = self.commands(self.called(tmp_path))[-1][1]["data"]
        assert data == (f"idx:{IMAGES}" if IMAGES.is_dir() else "cifar10:demo/data")

    @pytest.mark.parametrize("arguments", [["--mnist"], ["--fashion-mnist", "/nowhere"]])
    def test_what_it_does_not_know(self, arguments: list[str], tmp_path: Path) -> None:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self.called(tmp_path, *arguments)
        assert caught.value.stderr
        assert not (tmp_path / "record").exists()
