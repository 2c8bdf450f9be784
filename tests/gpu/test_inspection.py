"""Coverage, times per layer, the permission for code in a plan, and builds that collide or die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx_ir as ir
import pytest

from tests.support import models
from tests.support.workloads import ROOT, Build, trtqat
from trtqat.errors import PlanError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph_file.reading import read_model
from trtqat.inspection.engine_layers import inspect_engine
from trtqat.runtime.engine import Engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inspection")


@pytest.fixture(scope="module")
def options(tactic_sources: str) -> list[str]:
    return [f"--tactic-sources={tactic_sources}"] if tactic_sources else []


@pytest.fixture(scope="module")
def plan(folder: Path, options: list[str]) -> Path:
    """A plan with its graph beside it, built with the gate closed."""
    example = models.EXAMPLES["residual"]
    export_onnx(example.qat(), folder / "m.onnx", ExportOptions(example.inputs))
    done = trtqat("build", folder / "m.onnx", "-o", folder / "m.engine", "--require-int8", *options)
    assert done.returncode == 0, done.stderr
    assert "100.0% of the arithmetic" in done.stdout
    return folder / "m.engine"


def test_every_quantized_layer_and_its_time(plan: Path, folder: Path) -> None:
    done = trtqat(
        "inspect", plan, "--require-int8", "--json", "-",
        "--export-layer-info", folder / "layers.json", "--export-profile", folder / "profile.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    coverage = found["coverage"]
    assert coverage["wanted"] > 0
    assert coverage["missed"] == 0
    for layer in coverage["layers"]:
        assert layer["engine_layer"]
        assert layer["output_dtype"]
        assert 0 < layer["time_ms"] < 10
    assert {layer["name"] for layer in found["layers"]} == set(found["layer_times_ms"])
    assert found["compute_ms"] > 0

    profile = json.loads((folder / "profile.json").read_text())
    assert profile[0] == {"count": 50}
    assert sum(row["percentage"] for row in profile[1:]) == pytest.approx(100)
    # What was exported reads like trtexec's file, on a host without a GPU too.
    done = trtqat("inspect", folder / "layers.json", "--graph", folder / "m.onnx", "--require-int8")
    assert done.returncode == 0, done.stderr


def test_float_engine_of_the_same_graph_fails_the_gate(
    plan: Path, folder: Path, build_engine: Build
) -> None:
    model = read_model(folder / "m.onnx")
    remove_quantization(model)
    ir.save(model, str(folder / "float.onnx"))
    build_engine(folder / "float.onnx", folder / "float.engine", precision="fp16")
    done = trtqat(
        "inspect", folder / "float.engine", "--graph", folder / "m.onnx", "--require-int8"
    )
    assert done.returncode == 3
    assert "not seen in INT8" in done.stderr


def test_batch_size_decides_the_shapes(plan: Path) -> None:
    engine = Engine(plan)
    for size in (1, 32):
        layers = inspect_engine(engine, batch_size=size).information["Layers"]
        assert layers[0]["Inputs"][0]["Dimensions"][0] == size


def test_version_compatible_plan_needs_permission(
    plan: Path, folder: Path, options: list[str]
) -> None:
    built = folder / "compatible.engine"
    done = trtqat(
        "build", folder / "m.onnx", "-o", built, "--version-compatible", "--require-int8", *options
    )
    assert done.returncode == 0, done.stderr
    assert built.stat().st_size > plan.stat().st_size
    with pytest.raises(PlanError, match="allow-engine-code"):
        Engine(built)
    plain, compatible = Engine(plan), Engine(built, allow_engine_code=True)
    assert compatible.inputs == plain.inputs
    done = trtqat("doctor", built)
    assert done.returncode == 0, done.stdout
    assert "--allow-engine-code" in done.stdout


def test_manifest_of_another_gpu_is_refused(plan: Path, tmp_path: Path) -> None:
    copy = tmp_path / "m.engine"
    copy.write_bytes(plan.read_bytes())
    manifest = json.loads(plan.with_name("m.engine.json").read_text())
    manifest["compute_capability"], manifest["gpu"] = "7.5", "Tesla T4"
    (tmp_path / "m.engine.json").write_text(json.dumps(manifest))
    with pytest.raises(PlanError, match=r"Tesla T4 \(7\.5\)"):
        Engine(copy)
    assert trtqat("doctor", copy).returncode == 1
    # What the build recorded is shown all the same.
    done = trtqat("inspect", copy, "--require-int8")
    assert done.returncode == 0, done.stderr
    assert "as its build recorded it" in done.stdout
    assert "not loaded here: GPU: It was built for Tesla T4 (7.5)" in done.stdout


def test_doctor_on_this_host(plan: Path) -> None:
    done = trtqat("doctor", plan)
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout
    assert "as at the build" in done.stdout


def test_killed_build_leaves_nothing(plan: Path, folder: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trtqat", "build", str(folder / "m.onnx"), "-o", "m.engine"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "TensorRT is building" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_two_builds_at_once_with_one_timing_cache(
    plan: Path, folder: Path, tmp_path: Path, options: list[str]
) -> None:
    command = [sys.executable, "-m", "trtqat", "build", str(folder / "m.onnx")]
    command += ["--timing-cache", str(tmp_path / "timings.cache"), *options]
    builds = [
        subprocess.Popen(
            [*command, "-o", str(tmp_path / f"{number}.engine")],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(2)
    ]
    for process in builds:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0.engine",
        "0.engine.json",
        "1.engine",
        "1.engine.json",
        "timings.cache",
    ]
