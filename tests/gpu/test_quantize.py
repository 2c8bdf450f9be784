"""Models that ``trtqat.quantize`` made: on the GPU as on the CPU, in the engine, and trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch

import trtqat
from tests.support import workloads
from tests.support.architectures import ARCHITECTURES, batches, trained_like
from tests.support.workloads import Build
from trtqat.data.dataset import open_dataset
from trtqat.exporting.options import ExportOptions
from trtqat.numerics import difference
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel

# A skip, squeeze-and-excitation, a Concat of skips with ConvTranspose, fused attention, a mask.
IN_THE_ENGINE = ("resnet_basic", "mobilenet_v3", "unet", "vit_sdpa", "transformer_encoder")


def depthwise(graph: Path) -> set[str]:
    """Names of the convolutions in groups."""
    return {
        node.name
        for node in onnx.load(graph).graph.node
        for attribute in node.attribute
        if node.op_type == "Conv" and attribute.name == "group" and attribute.i > 1
    }


@pytest.mark.parametrize("name", IN_THE_ENGINE)
def test_the_engine_computes_what_was_quantized(
    name: str, tmp_path: Path, build_engine: Build
) -> None:
    architecture = ARCHITECTURES[name]
    graph, plan = tmp_path / "model.onnx", tmp_path / "model.engine"
    quantized = trtqat.quantize(trained_like(name), batches(architecture, 3, 8), for_="8.6")
    exported = trtqat.export_onnx(quantized.model, graph, ExportOptions(architecture.inputs))
    assert exported.warnings == ()
    built = build_engine(graph, plan, batch=(1, 8, 8))
    assert built.coverage is not None
    assert built.coverage.wanted
    # Inside a compiled subgraph the inspector of 8.6.0 tells nothing, and of depthwise convolutions
    # it has few in INT8.
    told = [each for each in built.coverage.missed if each.runs_int8 is not None]
    assert {each.name for each in told} <= depthwise(graph)
    is_compiled = name in ("vit_sdpa", "transformer_encoder")
    assert is_compiled or any(each.runs_int8 for each in built.coverage.wanted)
    engine, reference = Engine(plan), OnnxModel(graph, as_written=True)
    inputs = open_dataset("random:8", engine.inputs).batch(0, 8).inputs
    expected = reference.session(8).run(inputs)
    for output, actual in engine.session(8).run(inputs).items():
        assert difference(expected[output], actual).sqnr_db > 20, output


@pytest.mark.parametrize("name", ["resnet_basic", "vit_sdpa"])
def test_ranges_on_the_gpu_are_those_of_the_cpu(name: str) -> None:
    data = batches(ARCHITECTURES[name], 3, 8)
    here = trtqat.quantize(trained_like(name), data)
    there = trtqat.quantize(trained_like(name).cuda(), data)
    assert next(there.model.parameters()).device.type == "cuda"
    expected = {each.name: each for each in here.ranges}
    assert set(expected) == {each.name for each in there.ranges}
    for each in there.ranges:
        # TensorFloat-32 moves what is observed, and a range by a step of the histogram or two.
        assert each.sqnr_db == pytest.approx(expected[each.name].sqnr_db, abs=1.0), each.name
        assert each.amax == pytest.approx(expected[each.name].amax, rel=0.1), each.name


def test_the_command_quantizes_on_the_gpu(tmp_path: Path) -> None:
    factory = tmp_path / "model.py"
    factory.write_text(
        "import torch\n"
        "from torch import nn\n"
        "def fp32():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8),\n"
        "        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))\n"
    )
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "train.npz", input=images, labels=np.zeros(64, np.int64))
    done = workloads.trtqat(
        "quantize", f"{factory}:fp32", "--data", f"npz:{tmp_path / 'train.npz'}",
        "-o", tmp_path / "int8.pt", "--sensitivity", "--json", tmp_path / "quantized.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "quantized.json").read_text())["layers"]
    state = torch.load(tmp_path / "int8.pt", weights_only=True)
    # A host without a GPU loads it.
    tensors = _tensors(state)
    assert tensors
    assert all(each.device.type == "cpu" for each in tensors)


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_fine_tune_with_autocast_learns_and_keeps_what_it_learned(
    amp: Literal["fp16", "bf16"], tmp_path: Path
) -> None:
    name = "resnet_basic"
    teacher = trained_like(name).cuda()
    data = batches(ARCHITECTURES[name], 6, 16)
    model = trtqat.quantize(teacher, data[:2]).model
    pairs = [(each[0], None) for each in data]
    checkpoint = tmp_path / "run.ckpt"
    tuned = trtqat.fine_tune(
        model, pairs, epochs=8, teacher=teacher, amp=amp, checkpoint=checkpoint, distance="mse"
    )
    assert all(np.isfinite(each.loss) for each in tuned.epochs)
    assert tuned.epochs[-1].loss < tuned.epochs[0].loss
    # All epochs are in the checkpoint: a fresh model is as far without a step.
    again = trtqat.quantize(teacher, data[:2]).model
    resumed = trtqat.fine_tune(
        again, pairs, epochs=8, teacher=teacher, amp=amp, checkpoint=checkpoint, distance="mse"
    )
    assert resumed.resumed_at == 8
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def _tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for each in value.values() for tensor in _tensors(each)]
    return []
