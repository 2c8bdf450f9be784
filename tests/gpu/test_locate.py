"""The INT8 tensors of an engine: read without changing how it is fused, beside the reference's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.support import models
from tests.support.workloads import VGG, VGG_INPUT, Build, trtqat
from trtqat.data.dataset import open_dataset
from trtqat.evaluation.locate_steps import first_tensor_below, locate_in_steps
from trtqat.exporting.loading import load_model
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.source import ModelSource
from trtqat.runtime.engine import Engine


@pytest.mark.parametrize("name", ["residual", "depthwise", "attention"])
def test_small_models_agree_in_every_tensor(name: str, tmp_path: Path, build_engine: Build) -> None:
    example = models.EXAMPLES[name]
    graph, plan = tmp_path / "m.onnx", tmp_path / "m.engine"
    export_onnx(example.qat(), graph, ExportOptions(example.inputs))
    build_engine(graph, plan, batch=(1, 8, 8))
    engine = Engine(plan)
    found = locate_in_steps(graph, open_dataset("random:21", engine.inputs), engine=engine)
    probe = found.probe
    assert probe is not None
    # Which convolution a sum is fused with is chosen in each build anew.
    assert len(probe.missing) <= 1, probe
    assert probe.sqnr_db > 40
    for each in found.tensors:
        assert each.engine is not None
        assert each.engine.sqnr_db > 40, each
        if each.engine.largest is not None:
            assert each.engine.largest <= 1


def test_locate_in_trained_vgg16(
    runs: Path, vgg_data: str, tmp_path: Path, build_engine: Build, timing_cache: Path
) -> None:
    graph, plan = tmp_path / "m.onnx", tmp_path / "m.engine"
    model = load_model(ModelSource(f"{VGG}:qat", runs / "qat.pt"))
    export_onnx(model, graph, ExportOptions((VGG_INPUT,)))
    build_engine(graph, plan)
    command = [
        "eval", plan, "--data", vgg_data, "--limit", "200", "--duration", "0", "--locate",
        "--timing-cache", timing_cache,
        "--fake-quantized", f"{VGG}:qat", "--fake-quantized-checkpoint", runs / "qat.pt",
        "--json", tmp_path / "located.json", "--html", tmp_path / "located.html",
    ]  # fmt: skip
    done = trtqat(*command)
    assert done.returncode == 0, done.stderr
    assert "reference → engine: first tensor below 20 dB: none" in done.stdout
    located = json.loads((tmp_path / "located.json").read_text())["located"]["steps"]
    assert len(located["tensors"]) == 18
    assert located["probe"]["layers"] > 15
    assert len(located["probe"]["missing"]) <= 1
    for each in located["tensors"]:
        for step in ("reference", "engine"):
            # "inf" for what is identical.
            assert float(each[step]["sqnr_db"]) > 25, each
        if each["tensor"] != "output":
            # PyTorch sums in another order: an eighth of the codes was another in some training.
            assert each["engine"]["differing"] < 0.1
            assert each["reference"]["differing"] < 0.3
    assert "the engine against the ONNX reference" in (tmp_path / "located.html").read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "located.html", "located.json", "m.engine", "m.engine.json", "m.onnx",
    ]  # fmt: skip


def test_an_engine_of_another_graph_is_seen(tmp_path: Path, build_engine: Build) -> None:
    """What is read is the graph's own engine: it must not be taken for the one under test."""
    example = models.EXAMPLES["residual"]
    graph, other = tmp_path / "m.onnx", tmp_path / "other.onnx"
    export_onnx(example.qat(), graph, ExportOptions(example.inputs))
    model = onnx.load(str(graph))
    for initializer in model.graph.initializer:
        if initializer.data_type == onnx.TensorProto.INT8 and initializer.dims:
            array = np.flip(numpy_helper.to_array(initializer)).copy()
            initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    onnx.save(model, str(other))
    build_engine(other, tmp_path / "other.engine", batch=(1, 8, 8))
    engine = Engine(tmp_path / "other.engine")
    found = locate_in_steps(graph, open_dataset("random:16", engine.inputs), engine=engine)
    assert found.probe is not None
    assert found.probe.sqnr_db < 20
    assert first_tensor_below(found.tensors, "engine") is None
