"""What a plan needs on the way to another host: signature, permission, memory, a timing cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support import models
from tests.support.workloads import ROOT, trtqat
from trtqat.errors import PlanError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.runtime.engine import Engine


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "m.onnx"
    example = models.EXAMPLES["residual"]
    export_onnx(example.qat(), path, ExportOptions(example.inputs))
    return path


@pytest.fixture(scope="module")
def options(tactic_sources: str) -> list[str]:
    return [f"--tactic-sources={tactic_sources}"] if tactic_sources else []


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def test_signed_version_compatible_plan(
    graph: Path, tmp_path: Path, keys: tuple[Path, Path], options: list[str]
) -> None:
    private, public = keys
    plan = tmp_path / "m.engine"
    done = trtqat("build", graph, "-o", plan, "--version-compatible", "--sign", private, *options)
    assert done.returncode == 0, done.stderr
    assert plan.with_name("m.engine.sig").exists()
    evaluate = ["eval", plan, "--data", "random:8", "--duration", "0"]
    assert trtqat(*evaluate, "--trust", public).returncode == 0
    done = trtqat(*evaluate)
    assert done.returncode == 2
    assert "may carry a library" in done.stderr
    # The same plan and manifest, signed by nobody.
    plan.with_name("m.engine.sig").unlink()
    done = trtqat(*evaluate, "--trust", public)
    assert done.returncode == 2
    assert "is not signed" in done.stderr
    # Built again without a key, the older signature must not stay.
    trtqat("build", graph, "-o", plan, "--sign", private, *options)
    trtqat("build", graph, "-o", plan, *options)
    assert not plan.with_name("m.engine.sig").exists()


def test_manifest_knows_the_memory_that_a_context_takes(
    graph: Path, tmp_path: Path, options: list[str]
) -> None:
    plan = tmp_path / "m.engine"
    assert trtqat("build", graph, "-o", plan, *options).returncode == 0
    beside = plan.with_name("m.engine.json")
    manifest = json.loads(beside.read_text())
    engine = Engine(plan)
    assert manifest["device_memory_bytes"] == engine.device_memory_bytes > 0
    assert engine.tensorrt.flavour == "full"
    beside.write_text(json.dumps({**manifest, "device_memory_bytes": 2**50}))
    with pytest.raises(PlanError, match="one execution context need about"):
        Engine(plan)


def test_plan_without_its_lean_runtime(graph: Path, tmp_path: Path, options: list[str]) -> None:
    sizes = {}
    for name, extra in (("with", []), ("without", ["--exclude-lean-runtime"])):
        plan = tmp_path / f"{name}.engine"
        done = trtqat("build", graph, "-o", plan, "--version-compatible", *extra, *options)
        assert done.returncode == 0, done.stderr
        sizes[name] = plan.stat().st_size
    assert sizes["with"] > sizes["without"] + 20e6
    done = trtqat("build", graph, "-o", tmp_path / "m.engine", "--exclude-lean-runtime", *options)
    assert done.returncode == 2
    assert "--version-compatible" in done.stderr


def test_weights_cannot_be_left_out_by_every_tensorrt(
    graph: Path, tmp_path: Path, options: list[str]
) -> None:
    import tensorrt

    plan = tmp_path / "m.engine"
    done = trtqat("build", graph, "-o", plan, "--strip-weights", *options)
    if not hasattr(tensorrt.BuilderFlag, "STRIP_PLAN"):
        assert done.returncode == 4
        assert "builds no plans without weights" in done.stderr
        assert list(tmp_path.iterdir()) == []
        return
    assert done.returncode == 0, done.stderr
    assert trtqat("eval", plan, "--data", "random:8", "--duration", "0").returncode == 2
    done = trtqat("eval", plan, "--data", "random:8", "--duration", "0", "--weights", graph)
    assert done.returncode == 0, done.stderr


def test_two_builds_fill_one_timing_cache(graph: Path, tmp_path: Path, options: list[str]) -> None:
    """Neither build loses what the other one has timed."""
    other = tmp_path / "other.onnx"
    example = models.EXAMPLES["depthwise"]
    export_onnx(example.qat(), other, ExportOptions(example.inputs))
    sizes = {}
    for name, graphs in {"one": [graph], "other": [other], "both": [graph, other]}.items():
        cache = tmp_path / f"{name}.cache"
        builds = [
            subprocess.Popen(
                [sys.executable, "-m", "trtqat", "build", str(each), "-o",
                 str(tmp_path / f"{name}-{number}.engine"), "--timing-cache", str(cache), *options],
                stderr=subprocess.PIPE,
                cwd=ROOT,
            )
            for number, each in enumerate(graphs)
        ]  # fmt: skip
        for process in builds:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()
        sizes[name] = cache.stat().st_size
    assert sizes["both"] > max(sizes["one"], sizes["other"]), sizes


def test_triton_repository(graph: Path, tmp_path: Path, options: list[str]) -> None:
    models_folder = tmp_path / "models"
    command = ["build", graph, "-o", tmp_path / "m.engine", "--triton-repository", models_folder]
    for version in (1, 2):
        done = trtqat(*command, "--batch", "1:4:8", *options)
        assert done.returncode == 0, done.stderr
        served = models_folder / "m" / str(version) / "model.plan"
        assert str(served) in done.stdout
        assert served.read_bytes() == (tmp_path / "m.engine").read_bytes()
        assert trtqat("doctor", served).returncode == 0
    config = (models_folder / "m/config.pbtxt").read_text()
    assert "max_batch_size: 8" in config
    # What Triton cannot serve is refused before TensorRT works.
    done = trtqat(*command, "--batch", "2:4:8", *options)
    assert done.returncode == 2
    assert "Triton sends any batch from 1 on" in done.stderr
