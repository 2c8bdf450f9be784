"""``--plugins`` from the command line, with the builder of TensorRT for RTX and empty libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.commands import in_process
from tests.support.plugin_libraries import make_library, needs_compiler, was_loaded

pytest.importorskip("tensorrt_rtx_libs")


def write_graph(path: Path, operator: str = "") -> Path:
    """A quantized convolution, and behind it an operator that is none of ONNX's."""
    weights = np.random.default_rng(0).integers(-127, 128, (16, 8, 3, 3)).astype(np.int8)
    initializers = [
        numpy_helper.from_array(value, name)
        for name, value in {
            "w": weights,
            "w_scale": np.full(16, 0.01, np.float32),
            "w_zero": np.zeros(16, np.int8),
            "scale": np.float32(0.02),
            "zero": np.int8(0),
        }.items()
    ]
    last = helper.make_node(operator or "Relu", ["y"], ["o"], name="/last")
    if operator:
        last.domain = "my.ops"
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="/q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="/d"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["f"], "/w", axis=0),
        helper.make_node("Conv", ["d", "f"], ["y"], "/conv", kernel_shape=[3, 3], pads=[1] * 4),
        last,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8, 8, 8])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, ["N", 16, 8, 8])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_an_operator_without_a_plugin_is_named_with_the_way_out(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "m.onnx", "Twice")
    done = in_process(tmp_path, "build", graph, "-o", "m.engine", "--for", "rtx")
    assert done.returncode == 1
    assert "node '/last' (Twice)" in done.stderr
    assert "Twice is none of ONNX's: name the library that has it as a plugin" in done.stderr
    assert "--plugins lib.so" in done.stderr
    done = in_process(tmp_path, "eval", graph, "--data", "random:4")
    assert done.returncode == 2
    assert "Twice" in done.stderr
    assert "trtqat build --plugins lib.so" in done.stderr
    # What it computes nobody knows, so it is no INT8 layer, and has a name.
    told = in_process(tmp_path, "lint", graph).stdout
    assert "INT8: 1 of 1 layers" in told
    assert "not counted: '/last' (my.ops::Twice)" in told


@needs_compiler
def test_a_library_that_lacks_the_operator_is_named(tmp_path: Path) -> None:
    library = make_library(tmp_path / "libempty.so")
    graph = write_graph(tmp_path / "m.onnx", "Twice")
    words = ("build", graph, "-o", "m.engine", "--for", "rtx", "--plugins", library)
    done = in_process(tmp_path, *words)
    assert done.returncode == 1
    assert was_loaded(library)
    assert f"Twice is no plugin of '{library}'" in done.stderr


@needs_compiler
def test_the_library_goes_with_the_plan(tmp_path: Path) -> None:
    library = make_library(tmp_path / "libempty.so")
    graph = write_graph(tmp_path / "m.onnx")
    words = ("build", graph, "-o", "m.engine", "--for", "rtx", "--plugins", library)
    assert in_process(tmp_path, *words).returncode == 0
    manifest = json.loads((tmp_path / "m.engine.json").read_text())
    (recorded,) = manifest["plugins"]["libraries"]
    assert recorded["name"] == "libempty.so"
    assert manifest["plugins"]["operators"] == []

    def status(*options: object) -> list[str]:
        found = json.loads(
            in_process(tmp_path, "doctor", "m.engine", *options, "--json", "-").stdout
        )
        return [check["status"] for check in found["checks"] if check["name"] == "plugins"]

    library.with_suffix(".loaded").unlink()
    assert status() == ["missing"]
    assert status("--plugins", library) == ["passed"]
    (tmp_path / "other").mkdir()
    other = make_library(tmp_path / "other" / "libempty.so")
    assert status("--plugins", other) == ["failed"]
    # Nobody loads a library to look at it, and none that is not named.
    told = in_process(tmp_path, "inspect", "m.engine").stdout
    assert "INT8: 1 of 1 quantized layers" in told
    assert not was_loaded(library)
    assert not was_loaded(other)


@needs_compiler
def test_a_graph_takes_no_plugins(tmp_path: Path) -> None:
    library = make_library(tmp_path / "libempty.so")
    graph = write_graph(tmp_path / "m.onnx")
    for words in (("eval", graph, "--data", "random:4"), ("inspect", graph)):
        done = in_process(tmp_path, *words, "--plugins", library)
        assert done.returncode == 2
        assert "--plugins" in done.stderr
    assert not was_loaded(library)
