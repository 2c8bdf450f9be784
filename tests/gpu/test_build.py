"""Building through the command line: what comes out, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from tests.support import models
from tests.support.workloads import ROOT, Artefacts, Build, trtqat
from trtqat.errors import PlanError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.files import sha256_of
from trtqat.runtime.engine import Engine


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "residual.onnx"
    example = models.EXAMPLES["residual"]
    export_onnx(example.qat(), path, ExportOptions(example.inputs))
    return path


@pytest.fixture
def options(tactic_sources: str) -> list[str]:
    return [f"--tactic-sources={tactic_sources}"] if tactic_sources else []


def test_plan_and_manifest(graph: Path, tmp_path: Path, options: list[str]) -> None:
    plan = tmp_path / "model.engine"
    done = trtqat("build", graph, "-o", plan, "--batch", "1:4:8", "--workspace", "1GiB", *options)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "model.engine.json").read_text())
    assert manifest["schema_version"] == 1
    assert manifest["plan_sha256"] == sha256_of(plan)
    assert manifest["graph_sha256"] == sha256_of(graph)
    assert manifest["profiles"] == {
        "x": {"min": [1, 3, 16, 16], "opt": [4, 3, 16, 16], "max": [8, 3, 16, 16]}
    }
    assert manifest["inputs"] == [{"name": "x", "shape": [-1, 3, 16, 16], "dtype": "float32"}]
    assert manifest["options"]["workspace_bytes"] == 2**30
    assert manifest["provenance"]["qdq_pairs"] == 10
    import tensorrt

    assert manifest["tensorrt"] == tensorrt.__version__
    assert manifest["gpu"]
    assert (manifest["library"], manifest["targets"]) == ("tensorrt", [])
    recorded = manifest["coverage"]
    assert len(recorded["layers"]) == 4
    assert all(layer["runs_int8"] for layer in recorded["layers"])
    assert recorded["has_kernels"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.engine",
        "model.engine.json",
    ]


def test_trtexec_style_shapes_and_optimization_level(
    graph: Path, tmp_path: Path, options: list[str]
) -> None:
    plan = tmp_path / "model.engine"
    shapes = ["--min-shapes", "x:2x3x16x16", "--opt-shapes", "x:2x3x16x16"]
    done = trtqat(
        "build", graph, "-o", plan, *shapes, "--max-shapes", "x:6x3x16x16",
        "--builder-optimization-level", "1", *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Engine(plan).batch_range == (2, 6)


def test_batch_outside_of_the_profile(graph: Path, tmp_path: Path, options: list[str]) -> None:
    plan = tmp_path / "model.engine"
    assert trtqat("build", graph, "-o", plan, "--batch", "2:4:8", *options).returncode == 0
    done = trtqat("eval", plan, "--data", "random:9", "--batch-size", "9", "--duration", "0")
    assert done.returncode == 2
    assert "Batch size 9" in done.stderr
    # A last batch of one image is padded to the smallest that the engine takes.
    done = trtqat(
        "eval", plan, "--data", "random:9", "--batch-size", "8", "--duration", "0", "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 9


def test_timing_cache_is_written_and_read_again(
    graph: Path, tmp_path: Path, options: list[str]
) -> None:
    cache = tmp_path / "timings.cache"
    for _ in range(2):
        done = trtqat(
            "build", graph, "-o", tmp_path / "m.engine", "--timing-cache", cache, *options
        )
        assert done.returncode == 0, done.stderr
    assert cache.stat().st_size > 0


def test_timing_cache_of_another_network(graph: Path, tmp_path: Path, options: list[str]) -> None:
    cache = tmp_path / "timings.cache"
    attention = models.EXAMPLES["attention"]
    other = tmp_path / "attention.onnx"
    export_onnx(attention.qat(), other, ExportOptions(attention.inputs))
    for source in (graph, other):
        done = trtqat(
            "build", source, "-o", tmp_path / "m.engine", "--timing-cache", cache, *options
        )
        assert done.returncode == 0, done.stderr


def test_parser_error_names_the_node(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(str(graph))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "Unheard", "nobody"
    model.opset_import.append(onnx.helper.make_opsetid("nobody", 1))
    strange = tmp_path / "strange.onnx"
    onnx.save(model, str(strange))
    done = trtqat("build", strange, "-o", tmp_path / "m.engine")
    assert done.returncode == 1
    assert relu.name in done.stderr
    assert "Unheard" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "m.engine").exists()


def test_interrupted_build_leaves_nothing(resnet: Artefacts, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trtqat", "build", str(resnet[0]), "-o", str(tmp_path / "m.engine")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "TensorRT is building" in line:
            break
    time.sleep(2)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - asked < 5
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def plan(graph: Path, tmp_path_factory: pytest.TempPathFactory, build_engine: Build) -> Path:
    path = tmp_path_factory.mktemp("plan") / "m.engine"
    build_engine(graph, path)
    return path


class TestDamagedPlans:
    def damaged(self, plan: Path, tmp_path: Path, *, offset: int, keep_manifest: bool) -> Path:
        copy = tmp_path / "m.engine"
        content = bytearray(plan.read_bytes())
        content[offset] ^= 0x7
        copy.write_bytes(content)
        if keep_manifest:
            manifest = plan.with_name("m.engine.json").read_bytes()
            (tmp_path / "m.engine.json").write_bytes(manifest)
        return copy

    def test_flipped_byte_is_found_by_the_manifest(self, plan: Path, tmp_path: Path) -> None:
        middle = plan.stat().st_size // 2
        with pytest.raises(PlanError, match="SHA-256"):
            Engine(self.damaged(plan, tmp_path, offset=middle, keep_manifest=True))

    def test_other_version_is_named(self, plan: Path, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match=r"was built by TensorRT 15\."):
            Engine(self.damaged(plan, tmp_path, offset=24, keep_manifest=False))

    def test_truncated(self, plan: Path, tmp_path: Path) -> None:
        (tmp_path / "m.engine").write_bytes(plan.read_bytes()[:-1000])
        with pytest.raises(PlanError, match="damaged"):
            Engine(tmp_path / "m.engine")

    def test_sound_plan_loads_without_its_manifest(self, plan: Path, tmp_path: Path) -> None:
        (tmp_path / "m.engine").write_bytes(plan.read_bytes())
        assert Engine(tmp_path / "m.engine").manifest is None
