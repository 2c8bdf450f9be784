"""A target host: neither PyTorch, nor onnx, nor ONNX Runtime, nor the full TensorRT."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.plans import make_manifest, make_plan
from trtqat.building.plan_files import write_plan
from trtqat.plan.coverage import Coverage, LayerCoverage
from trtqat.plan.manifest import manifest_path

MISSING = ("torch", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "pytorch_quantization")

BARE = f"""
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from trtqat.cli.main import main
main()
"""


def trtqat(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "m.engine"
    content = make_plan(kind=2)
    write_plan(path, content, make_manifest(content))
    return path


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        (("build", "m.onnx", "-o", "m.engine"), "needs onnx"),
        (("inspect", "m.engine"), "needs onnx"),
        (("eval", "m.onnx", "--data", "random:8"), "needs onnxruntime"),
        (("export", "m.py:qat", "-o", "m.onnx"), "needs onnx"),
    ],
)
def test_what_it_cannot_do_names_the_extra(command: tuple[str, ...], needs: str) -> None:
    done = trtqat(*command)
    assert done.returncode == 4, done.stderr
    assert needs in done.stderr
    assert "pip install -e '.[" in done.stderr
    assert "Traceback" not in done.stderr


def test_plans_are_looked_at_all_the_same(plan: Path) -> None:
    done = trtqat("doctor", plan)
    assert "The plan's SHA-256 is the recorded one" in done.stdout
    assert "Traceback" not in done.stderr
    done = trtqat("eval", plan, "--data", "random:8", "--allow-engine-code")
    assert done.returncode in (2, 4), done.stderr
    assert "does not run here" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_build_recorded_is_shown(plan: Path) -> None:
    layer = LayerCoverage(
        "/fc/Gemm", "Gemm", True, True, 100, "/fc/Gemm_myl0_8", "", (), "float32", None, ""
    )
    coverage = Coverage((layer,), (), (), (), has_kernels=False)
    manifest = replace(make_manifest(plan.read_bytes()), coverage=coverage)
    manifest_path(plan).write_text(manifest.to_json())
    done = trtqat("inspect", plan, "--require-int8")
    assert done.returncode == 0, done.stderr
    assert "INT8: 1 of 1 quantized layers, 100.0% of the arithmetic" in done.stdout
    assert "not loaded here: TensorRT: No TensorRT can be imported here" in done.stdout
