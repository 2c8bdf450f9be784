"""A detector whose suppression is TensorRT's own plugin, and a library that has none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.plugin_libraries import make_library, needs_compiler
from tests.support.workloads import Build, trtqat
from trtqat.errors import MissingError, PlanError
from trtqat.plan.manifest import manifest_path, read_manifest
from trtqat.runtime.engine import Engine

_BOXES, _CLASSES, _KEPT = 64, 4, 10


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized convolution makes scores; boxes are an input."""
    path = tmp_path_factory.mktemp("detector") / "detector.onnx"
    weights = np.random.default_rng(0).integers(-127, 128, (_CLASSES, 8, 1, 1)).astype(np.int8)
    initializers = [
        numpy_helper.from_array(value, name)
        for name, value in {
            "w": weights,
            "w_scale": np.full(_CLASSES, 0.01, np.float32),
            "w_zero": np.zeros(_CLASSES, np.int8),
            "scale": np.float32(0.02),
            "zero": np.int8(0),
            "shape": np.array([0, _CLASSES, _BOXES], np.int64),
        }.items()
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="/q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="/d"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["f"], "/w", axis=0),
        helper.make_node("Conv", ["d", "f"], ["y"], "/conv", kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["y"], ["s"], name="/sigmoid"),
        helper.make_node("Reshape", ["s", "shape"], ["r"], name="/reshape"),
        helper.make_node("Transpose", ["r"], ["scores"], name="/transpose", perm=[0, 2, 1]),
        helper.make_node(
            "EfficientNMS_TRT",
            ["boxes", "scores"],
            ["count", "kept", "confidence", "classes"],
            name="/nms",
            domain="TRT",
            plugin_version="1",
            background_class=-1,
            box_coding=0,
            iou_threshold=0.5,
            max_output_boxes=_KEPT,
            score_activation=0,
            score_threshold=0.25,
        ),
    ]
    outputs = [
        helper.make_tensor_value_info("count", TensorProto.INT32, ["N", 1]),
        helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["N", _KEPT, 4]),
        helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["N", _KEPT]),
        helper.make_tensor_value_info("classes", TensorProto.INT32, ["N", _KEPT]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8, 8, 8]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", _BOXES, 4]),
    ]
    made = helper.make_graph(nodes, "detector", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_plugin_of_tensorrts_own(graph: Path, tmp_path: Path, build_engine: Build) -> None:
    plan = tmp_path / "detector.engine"
    built = build_engine(graph, plan, (1, 2, 4))
    manifest = read_manifest(plan)
    assert manifest is not None
    assert manifest.plugins is not None
    assert (manifest.plugins.libraries, manifest.plugins.operators) == ((), ("EfficientNMS_TRT",))
    assert built.coverage is not None
    assert [layer.name for layer in built.coverage.not_counted] == ["/nms"]
    assert all(layer.runs_int8 is not True for layer in built.coverage.not_counted)
    # In a process that has registered none.
    told = json.loads(trtqat("inspect", plan, "--graph", graph, "--json", "-").stdout)
    assert told["coverage"]["layers"]
    boxes = np.sort(np.random.default_rng(1).random((2, _BOXES, 4), np.float32), axis=2)
    with Engine(plan) as engine, engine.session(2) as session:
        found = session.run({"x": np.ones((2, 8, 8, 8), np.float32), "boxes": boxes})
    assert found["kept"].shape == (2, _KEPT, 4)
    assert (found["count"] <= _KEPT).all()


@needs_compiler
def test_a_library_goes_with_the_plan(graph: Path, tmp_path: Path, build_engine: Build) -> None:
    library = make_library(tmp_path / "libempty.so")
    plan = tmp_path / "detector.engine"
    build_engine(graph, plan, (1, 2, 4), plugins=(library,))
    with pytest.raises(MissingError, match=r"It needs the plugin library 'libempty\.so'"):
        Engine(plan)
    with Engine(plan, plugins=[library]) as engine:
        assert engine.plugins == (library,)
    # Another file of that name: this process has the first one in its memory.
    changed = library.read_bytes() + b"\0"
    library.unlink()
    library.write_bytes(changed)
    with pytest.raises(PlanError, match="is not the plugin library"):
        Engine(plan, plugins=[library])


def test_without_a_manifest_tensorrts_reason_leads_to_the_option(
    graph: Path, tmp_path: Path, build_engine: Build
) -> None:
    """Nothing says that the plan has a plugin, so none is registered."""
    plan = tmp_path / "detector.engine"
    build_engine(graph, plan, (1, 2, 4))
    manifest_path(plan).unlink()
    done = trtqat("inspect", plan, "--graph", graph)
    assert done.returncode != 0
    assert "--plugins lib.so" in done.stderr
