"""The tensor at which a graph parts from the fake-quantized model is the one that is named."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from tests.support import models
from tests.support.examples import Images, exported
from trtqat.errors import DataError
from trtqat.evaluation.locate import Located
from trtqat.evaluation.locate_differences import StepLoss
from trtqat.evaluation.locate_steps import (
    LocatedInSteps,
    TensorLoss,
    first_tensor_below,
    locate_in_steps,
)
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph.passes.write_convolutions import write_convolutions
from trtqat.graph_file.reading import read_model
from trtqat.report.locate_words import locate_answers
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec


def compared(
    name: str, graph: Path, images: Images, model: torch.nn.Module | None
) -> LocatedInSteps:
    example = models.EXAMPLES[name]
    module = example.qat() if model is None else model
    fake_quantized = PyTorchModel(module, example.inputs, device="cpu")
    return locate_in_steps(graph, images, fake_quantized=fake_quantized)


@pytest.mark.parametrize("name", models.EXAMPLES)
def test_reference_and_model_agree_in_every_tensor(name: str, tmp_path: Path) -> None:
    path, images = exported(name, tmp_path)
    found = compared(name, path, images, None)
    assert found.probe is None
    seen = [each for each in found.tensors if each.reference is not None]
    # A layer that runs twice has one quantizer, and two tensors: it is left out.
    assert len(seen) == len(found.tensors) - 2 * (name == "two_inputs")
    for each in seen:
        assert each.reference is not None
        assert each.reference.sqnr_db > 40, each
        assert each.engine is None
        if each.reference.largest is not None:
            assert each.reference.largest <= 1
    assert first_tensor_below(found.tensors, "reference") is None


def test_a_layer_that_computes_otherwise_is_found(tmp_path: Path) -> None:
    path, images = exported("residual", tmp_path)
    model = onnx.load(str(path))
    node = next(node for node in model.graph.node if node.name == "/conv1/Conv")
    producers = {output: each for each in model.graph.node for output in each.output}
    codes = producers[node.input[1]].input[0]
    initializer = next(each for each in model.graph.initializer if each.name == codes)
    array = numpy_helper.to_array(initializer)
    initializer.CopyFrom(numpy_helper.from_array(np.flip(array).copy(), codes))
    onnx.save(model, str(path))
    found = compared("residual", path, images, None)
    first = first_tensor_below(found.tensors, "reference")
    assert first is not None
    assert (first.layer, first.tensor) == ("/conv1/Conv", "/conv2/_input_quantizer/QuantizeLinear")
    worst = max(found.tensors, key=lambda each: each.reference.lost_db if each.reference else 0)
    assert worst == first
    assert worst.reference is not None
    assert worst.reference.differing is not None
    assert worst.reference.differing > 0.2


def test_a_torchscript_model_cannot_be_looked_into(tmp_path: Path) -> None:
    path, images = exported("depthwise", tmp_path)
    example = models.EXAMPLES["depthwise"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(example.qat(), example.batch(2))  # type: ignore[no-untyped-call]
    found = compared("depthwise", path, images, traced)
    # Its outputs can.
    assert [each.tensor for each in found.tensors if each.reference] == ["output"]


def test_the_rounding_of_an_fp16_graph_is_no_loss(tmp_path: Path) -> None:
    example, path = models.EXAMPLES["residual"], tmp_path / "m.onnx"
    options = ExportOptions(example.inputs, precision="fp16", opset=19, exporter="torchscript")
    export_onnx(example.qat(), path, options)
    found = compared("residual", path, Images(example, 24), None)
    for each in found.tensors:
        assert each.reference is not None
        assert each.reference.lost_db < 1, each
        assert (each.reference.largest or 0) <= 1


class Blocks(nn.Module):
    """What an observer of modules can get wrong: in-place, shared, named as an output, inline."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.shortcut = models.quantizer()
        self.output = models.quantizer()
        self.twice = models.quantizer()
        self.inline = Inline()
        self.head = nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.shortcut(x)
        y += torch.relu(x)
        y = self.output(torch.relu_(y))
        y = self.inline(y)
        z: torch.Tensor = self.head(self.twice(y) + torch.relu(self.twice(y)))
        return z


class Inline(nn.Module):
    """Quantizes its input in the forward itself, and returns something of the same shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, 0.03, 0, -128, 127)
        return torch.cos(x)


def test_only_what_a_quantizer_returned_is_compared(tmp_path: Path) -> None:
    example = models.Example(Blocks, (TensorSpec("x", (1, 3, 16, 16)),), pairs=0)
    model, path = example.qat(), tmp_path / "m.onnx"
    export_onnx(model, path, ExportOptions(example.inputs, exporter="torchscript"))
    fake_quantized = PyTorchModel(model, example.inputs, device="cpu")
    found = locate_in_steps(path, Images(example, 11), fake_quantized=fake_quantized)
    compared = {each.tensor: each.reference for each in found.tensors}
    for name in ("/shortcut/QuantizeLinear", "/output/QuantizeLinear", "/twice/QuantizeLinear"):
        assert compared[name] is not None, name
    assert compared["/inline/QuantizeLinear"] is None
    for name, loss in compared.items():
        assert loss is None or loss.sqnr_db > 40, (name, loss)


class Tokens(nn.Module):
    """Linear layers over all tokens of all images at once: not one row for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.reshape(-1, 16)
        tokens = self.second(torch.relu(self.first(tokens)))
        z: torch.Tensor = tokens.reshape(x.shape)
        return z


@pytest.mark.parametrize("static", [False, True])
def test_tensors_that_do_not_lead_with_the_batch(tmp_path: Path, *, static: bool) -> None:
    # Twelve images are two batches of five and one that is filled up, if the batch is fixed.
    spec = TensorSpec("x", (5 if static else 1, 9, 16))
    example = models.Example(Tokens, (spec,), pairs=0)
    model, path = example.qat(), tmp_path / "m.onnx"
    export_onnx(
        model, path, ExportOptions(example.inputs, static_batch=static, exporter="torchscript")
    )
    fake_quantized = PyTorchModel(model, example.inputs, device="cpu")
    found = locate_in_steps(path, Images(example, 12), fake_quantized=fake_quantized)
    for each in found.tensors:
        assert each.reference is not None, each
        assert each.reference.sqnr_db > 40


def test_nodes_without_names(tmp_path: Path) -> None:
    path, images = exported("depthwise", tmp_path)
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.ClearField("name")
    onnx.save(model, str(path))
    found = compared("depthwise", path, images, None)
    assert [each.tensor for each in found.tensors if each.reference] == ["output"]
    told = locate_answers(Located((), found, 24))
    assert f"{len(found.tensors) - 1} of {len(found.tensors)} not compared" in "\n".join(told)


def loss(name: str, sqnr_db: float) -> TensorLoss:
    return TensorLoss(name, name, None, StepLoss(sqnr_db, 0.0, 0.0, 0), ())


@given(st.lists(st.floats(-10, 100) | st.sampled_from([math.nan, math.inf]), max_size=8))
def test_the_first_below_is_named(noise: list[float]) -> None:
    tensors = [loss(str(number), value) for number, value in enumerate(noise)]
    found = first_tensor_below(tensors, "engine", below_db=20)
    low = [number for number, value in enumerate(noise) if math.isnan(value) or value < 20]
    assert (found.tensor if found else None) == (str(low[0]) if low else None)
    assert first_tensor_below([replace(each, engine=None) for each in tensors], "engine") is None


class Moved(nn.Module):
    """A quantizer behind a pooling that keeps the shape: a repair moves its pair before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.second = nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.pool(torch.relu(self.first(x))))
        return y


@pytest.mark.parametrize("repair", [False, True])
def test_a_pair_that_was_moved_is_no_quantizer_s_output(tmp_path: Path, *, repair: bool) -> None:
    example = models.Example(Moved, (TensorSpec("x", (1, 3, 16, 16)),), pairs=4)
    model, path = example.qat(), tmp_path / "m.onnx"
    improve = ImproveOptions(repair=repair)
    export_onnx(model, path, ExportOptions(example.inputs, improve=improve, exporter="torchscript"))
    fake_quantized = PyTorchModel(model, example.inputs, device="cpu")
    found = locate_in_steps(path, Images(example, 8), fake_quantized=fake_quantized)
    compared = {each.label: each.reference for each in found.tensors}
    assert ("/second/_input_quantizer" in compared) is not repair
    for name, loss in compared.items():
        assert (loss is None) == name.endswith("_moved"), name
        assert loss is None or loss.sqnr_db > 40


def test_a_linear_layer_that_is_written_as_a_convolution_is_compared(tmp_path: Path) -> None:
    """Its data are images of one pixel then, as ``export`` writes them behind bytes for 8.6."""
    path, images = exported("residual", tmp_path)
    model = ir.passes.common.ShapeInferencePass()(read_model(path)).model
    assert write_convolutions(model).images
    ir.save(model, path)
    found = compared("residual", path, images, None)
    (data,) = (each for each in found.tensors if each.label == "/fc/_input_quantizer")
    assert data.reference is not None
    assert data.reference.sqnr_db > 40
    assert all(each.reference is not None for each in found.tensors)


def test_a_model_of_other_outputs_is_refused(tmp_path: Path) -> None:
    path, images = exported("residual", tmp_path)
    # A model with another number of outputs, as nobody would give it.
    example = models.EXAMPLES["residual"]

    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x.mean((2, 3)), x

    fake_quantized = PyTorchModel(Two(), example.inputs, device="cpu")
    with pytest.raises(DataError, match=r"2 outputs without names, but 'residual\.onnx'"):
        locate_in_steps(path, images, fake_quantized=fake_quantized)
