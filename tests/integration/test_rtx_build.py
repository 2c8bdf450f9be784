"""``trtqat build --for rtx`` as a user meets it, with the real library, on a host without a GPU."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import trtqat as package
from tests.support.commands import in_process, trtqat
from tests.support.rtx_graphs import saved, two_layers, two_layers_in
from trtqat.errors import GateError, UsageError
from trtqat.plan.header import read_plan
from trtqat.plan.manifest import read_manifest

PROOF = "inputs and weights are INT8 in the built plan"
NOT_RUN = "built and inspected, not run"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return two_layers_in(tmp_path)


def test_the_command(graph: Path, tmp_path: Path) -> None:
    layers = tmp_path / "layers.json"
    done = trtqat(
        tmp_path,
        *("build", graph, "-o", "m.engine", "--for", "rtx", "--targets", "sm89,sm86"),
        *("--require-int8", "--export-layer-info", layers),
    )
    assert done.returncode == 0, done.stderr
    assert "by TensorRT for RTX 1." in done.stdout
    assert "for compute capability 8.6, 8.9\n" in done.stdout
    assert f"INT8: 2 of 2 quantized layers, 100.0% of the arithmetic: {PROOF}" in done.stdout
    assert NOT_RUN in done.stdout

    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    assert (manifest.library, manifest.targets) == ("rtx", ("8.6", "8.9"))
    assert (manifest.gpu, manifest.driver) == ("", "")
    assert manifest.cuda in ("12", "13")
    content, header = read_plan(tmp_path / "m.engine")
    assert header.library == "rtx"
    assert manifest.tensorrt.startswith(".".join(map(str, header.version)))
    assert hashlib.sha256(content).hexdigest() == manifest.plan_sha256

    # What was exported is read as any other file of layers.
    read = in_process(tmp_path, "inspect", layers, "--graph", graph, "--require-int8")
    assert read.returncode == 0, read.stderr
    assert PROOF in read.stdout


def test_the_default_is_the_librarys_own(graph: Path, tmp_path: Path) -> None:
    manifest = package.build(graph, tmp_path / "m.engine", for_="rtx").manifest
    assert manifest.targets == ("8.0", "8.6", "8.9", "12.0+")
    assert manifest.built_for == "compute capability 8.0, 8.6, 8.9, 12.0 and newer"


@pytest.mark.parametrize("targets", ["sm75", ["7.5", "SM_89"]])
def test_turing_is_built_for_by_name(
    targets: str | list[str], graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = package.build(graph, tmp_path / "m.engine", for_="rtx", targets=targets)
    assert "7.5" in result.manifest.targets
    # No convolution of such a plan is INT8, for any of its targets.
    assert result.coverage is not None
    assert len(result.coverage.missed) == len(result.coverage.wanted) == 2
    assert "For sm75 (Turing) TensorRT for RTX has no INT8 convolution" in caplog.text
    # A plan of its own it has where nothing else is named.
    assert ("plan of its own" in caplog.text) == (len(result.manifest.targets) > 1)


def test_any_host_sees_the_layers_later(graph: Path, tmp_path: Path) -> None:
    package.build(graph, tmp_path / "m.engine", for_="rtx")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("m.engine", "m.engine.json"):
        shutil.move(tmp_path / name, elsewhere / name)
    done = in_process(elsewhere, "inspect", "m.engine", "--require-int8", "-v")
    assert done.returncode == 0, done.stderr
    assert PROOF in done.stdout
    assert "not loaded here" in done.stdout
    assert "| /first " in done.stdout
    found = package.inspect(elsewhere / "m.engine")
    assert isinstance(found, package.InspectedPlan)
    assert found.coverage.missed == ()
    with pytest.raises(UsageError, match="--export-layer-info is for plans that are loaded"):
        package.inspect(elsewhere / "m.engine", export_layer_info=elsewhere / "layers.json")


def test_a_gate_that_is_not_met(tmp_path: Path) -> None:
    made = two_layers()
    weight = np.random.default_rng(0).normal(size=(4, 4, 2, 2)).astype(np.float32)
    name = made.pair(made.constant("up.weight", weight), np.full(4, 0.02), 1)
    made.node("ConvTranspose", [made.pair("second", 0.1), name], "up", strides=[2, 2])
    path = saved(made.proto("up"), tmp_path / "m.onnx")
    done = in_process(tmp_path, "build", path, "-o", "m.engine", "--for", "rtx", "--require-int8")
    assert done.returncode == 3
    assert "INT8: 2 of 3 quantized layers" in done.stdout
    assert "/up is not seen in INT8" in done.stdout
    assert "1 of 3 quantized layers are not seen in INT8, first '/up'" in done.stderr
    assert (tmp_path / "m.engine").exists()


def test_names_that_look_like_the_list_itself(tmp_path: Path) -> None:
    """What cannot be read for certain is not counted as INT8."""
    proto = two_layers().proto("second")
    hostile = "/second], Constants: [], LayerType: correlation, Inputs: ["
    next(node for node in proto.graph.node if node.name == "/second").name = hostile
    result = package.build(saved(proto, tmp_path / "m.onnx"), tmp_path / "m.engine", for_="rtx")
    assert result.coverage is not None
    assert [layer.name for layer in result.coverage.missed] == [hostile]
    with pytest.raises(GateError, match="1 of 2 quantized layers"):
        result.check_int8()


def test_nodes_without_names(tmp_path: Path) -> None:
    proto = two_layers().proto("second")
    for node in proto.graph.node:
        node.name = ""
    result = package.build(saved(proto, tmp_path / "m.onnx"), tmp_path / "m.engine", for_="rtx")
    assert result.coverage is not None
    assert len(result.coverage.wanted) == 2
    for layer in result.coverage.missed:
        assert layer.reason


def test_the_record_as_json(graph: Path, tmp_path: Path) -> None:
    done = in_process(tmp_path, "build", graph, "-o", "m.engine", "--for", "rtx", "--json", "-")
    record = json.loads(done.stdout)
    assert record["manifest"]["library"] == "rtx"
    assert record["coverage"]["wanted"] == 2
    assert {layer["weight_dtype"] for layer in record["coverage"]["layers"]} == {"int8"}
    assert record["coverage"]["has_kernels"] is False
