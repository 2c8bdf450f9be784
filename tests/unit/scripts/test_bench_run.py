"""scripts/bench/run: what it would do; the commands themselves have tests of their own."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from trtqat.cli.app import app

ROOT = Path(__file__).parents[3]
# A Python that does nothing, and says how it was called.
RECORDER = """#!/usr/bin/env bash
printf '%q ' "$@" >> "$RECORD"
echo >> "$RECORD"
"""
FOR_ENGINES = ["--tactic-sources", "-cublas"]


class Called:
    """What one run calls."""

    def __init__(self, folder: Path, **environment: str) -> None:
        (folder / "scripts" / "bench").mkdir(parents=True, exist_ok=True)
        script = folder / "scripts" / "bench" / "run"
        shutil.copy(ROOT / "scripts" / "bench" / "run", script)
        python, record = folder / "python", folder / "record"
        python.write_text(RECORDER)
        python.chmod(0o755)
        record.write_text("")
        known = {"PATH": os.environ["PATH"], "PYTHON": str(python), "RECORD": str(record)}
        subprocess.run(
            ["bash", str(script), *FOR_ENGINES], env={**known, **environment}, check=True
        )
        words = [shlex.split(line)[1:] for line in record.read_text().splitlines()]
        self.modules = [(each[0], each[1:]) for each in words if each[0] != "trtqat"]
        group = typer.main.get_command(app)
        assert isinstance(group, TyperGroup)
        # By trtqat's own parser, which refuses what it does not know.
        self.commands = [
            (name, group.commands[name].make_context(name, list(options)).params)
            for name, *options in (each[1:] for each in words if each[0] == "trtqat")
        ]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [params for each, params in self.commands if each == name]


def test_all_stages_of_all_models(tmp_path: Path) -> None:
    called = Called(tmp_path)
    graphs = [params["output"] for params in called.of("export")]
    builds = called.of("build")
    assert len(graphs) == len(set(graphs)) == 6
    assert {params["graph"] for params in builds} == set(graphs)
    for params in builds:
        assert params["tactic_sources"] == "-cublas"
        assert params["timing_cache"] == "runs/bench/timing.cache"
    engines = {params["output"] for params in builds}
    used = {params["model"] for params in called.of("eval")}
    used |= {params["file"] for params in called.of("inspect")}
    assert {path for path in used if ".fp16" not in path.name} <= engines
    # What is measured is also built, the engines that it is compared with before it is timed.
    for params in called.of("eval"):
        if "fp16" in params["compare"] and params["duration"]:
            first = next(each for each in called.of("eval") if each["model"] == params["model"])
            assert (first["compare"], first["duration"]) == ("fp16", 0)
        # Without engines to build eval refuses a timing cache.
        assert not params["timing_cache"] or params["compare"] or params["locate"]
    for name, _ in called.modules:
        assert importlib.util.find_spec(name) is not None, name


def test_what_is_written_is_summarized(tmp_path: Path) -> None:
    called = Called(tmp_path, RESULTS="results")
    reports = {str(params["json"]) for _, params in called.commands if params.get("json")}
    summaries = [given for name, given in called.modules if name == "scripts.summarize"]
    assert {given[0] for given in summaries} == reports
    for given in summaries:
        assert given[1:] == ["--output", f"results/{Path(given[0]).name}"]


def test_the_table_is_of_what_was_measured(tmp_path: Path) -> None:
    called = Called(tmp_path, MODELS="vit resnet50", STAGES="measure")
    assert called.of("export") == called.of("build") == called.of("inspect") == []
    name, given = called.modules[-1]
    assert name == "scripts.bench.gains"
    assert given == ["scripts/results/eval-vit.json", "scripts/results/eval-resnet50.json"]


def test_queries_in_flight_are_a_stage_of_their_own(tmp_path: Path) -> None:
    called = Called(tmp_path, MODELS="vit resnet50", STAGES="throughput")
    ((name, throughput),) = called.modules
    assert name == "scripts.bench.throughput"
    assert throughput[:2] == ["runs/bench/resnet50.engine", "runs/bench/resnet50-codes.engine"]
    assert "--trtexec" not in throughput


def test_graphs_are_tuned_where_that_is_asked_for(tmp_path: Path) -> None:
    called = Called(tmp_path, MODELS="vit unet efficientnet", STAGES="graphs tune", BUDGET="90s")
    searches = called.of("tune")
    assert {params["graph"] for params in searches} == {
        params["output"] for params in called.of("export")
    }
    assert [params["batch"] for params in searches] == ["1:32:32", "1,32", "1,32"]
    assert {params["budget"] for params in searches} == {"90s"}
    assert {params["tactic_sources"] for params in searches} == {"-cublas"}
    table = [f"scripts/results/tune-{name}.json" for name in ("vit", "unet", "efficientnet")]
    assert called.modules[-1] == ("scripts.bench.tuned", table)
    assert called.of("build") == called.of("eval") == []
    # Without it, these two have nothing to build or to measure.
    others = Called(tmp_path, MODELS="unet efficientnet", STAGES="engines explain")
    assert others.commands == []


def test_a_trtexec_stands_beside(tmp_path: Path) -> None:
    called = Called(tmp_path, MODELS="vgg16", STAGES="throughput", TRTEXEC="/my tools/trtexec")
    ((_, throughput),) = [each for each in called.modules if each[0].endswith("throughput")]
    assert throughput[throughput.index("--trtexec") + 1] == "/my tools/trtexec"


def test_an_engine_that_is_newer_than_its_graph_stays(tmp_path: Path) -> None:
    work = tmp_path / "runs" / "bench"
    work.mkdir(parents=True)
    for age, name in enumerate(["mobilenet.fp16.engine", "mobilenet.engine", "mobilenet.onnx"]):
        (work / name).touch()
        os.utime(work / name, (1e9 - age, 1e9 - age))
    assert Called(tmp_path, MODELS="mobilenet", STAGES="engines").commands == []
    os.utime(work / "mobilenet.onnx")
    called = Called(tmp_path, MODELS="mobilenet", STAGES="engines")
    assert [name for name, _ in called.commands] == ["build"]


@pytest.mark.parametrize("wrong", [{"MODELS": "vit resnet"}, {"STAGES": "measure all"}])
def test_what_it_does_not_know(wrong: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        Called(tmp_path, **wrong)
    assert error.value.returncode == 2
