"""Every architecture from FP32 to an INT8 plan: ``quantize``, ``export``, and a build for RTX.

The builder says what is INT8, and lint what it would stumble over. Nothing is run on a GPU here.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

import trtqat
from tests.support.architectures import ARCHITECTURES, batches, by_name, trained_like
from trtqat.errors import UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.quant.quantize import Quantized, quantize

NAMES = list(ARCHITECTURES)
# The TorchScript exporter writes padding="same" of a dilated convolution in a form that ONNX
# Runtime does not run.
BY_DYNAMO = ("padded",)
# These go through the torch.export-based exporter as well, which takes seconds.
BOTH = ("vit_sdpa", "transformer_encoder", "parametrized", "defaults")
FORMS = [(name, "dynamo" if name in BY_DYNAMO else "torchscript") for name in NAMES]
FORMS += [(name, "dynamo") for name in BOTH]
# Weights here are drawn, not trained: their outputs are harder to keep than those of real ones.
MIN_SQNR_DB = 12.0
# Layers that no run in evaluation calls, and what recurs.
NOT_FOR_INT8 = {
    "googlenet": dict.fromkeys(
        ("aux.conv.conv", "aux.fc1", "aux.fc2"), "it did not run on the first samples"
    ),
    "lstm": {"lstm": "TensorRT has no INT8 for what recurs"},
}


pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def float_model(name: str) -> nn.Module:
    """One that was not quantized, and that no test changes."""
    return trained_like(name)


@cache
def result(name: str) -> Quantized:
    return quantize(trained_like(name), batches(ARCHITECTURES[name], 3, 8))


def quantized(name: str) -> nn.Module:
    return result(name).model


def outputs_of(model: nn.Module, batch: tuple[Tensor, ...]) -> list[Tensor]:
    outputs = model(*batch)
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


@pytest.mark.parametrize(("name", "exporter"), FORMS)
def test_every_layer_is_int8_in_the_plan_and_lint_is_silent(
    name: str, exporter: Any, tmp_path: Path
) -> None:
    architecture = ARCHITECTURES[name]
    path = tmp_path / "model.onnx"
    options = ExportOptions(architecture.inputs, exporter=exporter)
    exported = trtqat.export_onnx(quantized(name), path, options)
    assert exported.warnings == ()
    built = trtqat.build(path, tmp_path / "model.engine", for_="rtx")
    assert built.coverage_error is None
    coverage = built.coverage
    assert coverage is not None
    # All layers of the model are there, and quantized; what recurs is not for INT8.
    reasons = {layer.name: layer.kept for layer in result(name).layers if layer.kept}
    others = NOT_FOR_INT8.get(name, {})
    assert {layer: reason for layer, reason in reasons.items() if layer in others} == others
    kept = [reason for layer, reason in reasons.items() if layer not in others]
    assert bool(kept) == bool(architecture.float_operators)
    assert all("transposed convolution" in each or "fewer than four" in each for each in kept)
    assert len(coverage.wanted) == architecture.layers - len(kept)
    unwanted = {layer.operator for layer in coverage.unwanted}
    assert unwanted <= {"LSTM", *architecture.float_operators}
    assert coverage.missed == ()
    for layer in coverage.wanted:
        assert layer.runs_int8
        # A mask and the scale of scores are added to and multiply what a product made.
        floats = [each for each in layer.input_dtypes if each != "int8"]
        assert not floats or (layer.operator == "MatMul" and not layer.weight_dtype), layer.name
        assert layer.weight_dtype in ("int8", "")
        # The products of attention read two activations; everything else has weights.
        assert layer.weight_dtype or layer.operator == "MatMul"


@pytest.mark.parametrize("name", NAMES)
def test_the_model_stays_itself(name: str) -> None:
    before, after = float_model(name), quantized(name)
    modules = dict(after.named_modules())
    for path, module in before.named_modules():
        assert type(modules[path]).__name__ == type(module).__name__
        # A parametrized module has a class of its own.
        assert is_parametrized(module) or isinstance(modules[path], type(module))
    state = after.state_dict()
    for key, value in before.state_dict().items():
        assert torch.equal(state[key], value), key
    assert not after.training


@pytest.mark.parametrize("name", NAMES)
def test_outputs_stay_close(name: str) -> None:
    # Other samples than those of the calibration.
    (batch,) = batches(ARCHITECTURES[name], 1, 16, seed=11)
    with torch.no_grad():
        exact = outputs_of(float_model(name), batch)
        rounded = outputs_of(quantized(name), batch)
    for output, other in zip(exact, rounded, strict=True):
        assert not torch.equal(output, other)
        noise = (output - other).square().sum()
        sqnr_db = 10 * torch.log10(output.square().sum() / noise)
        assert sqnr_db > MIN_SQNR_DB


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_on(name: str) -> None:
    model = copy.deepcopy(quantized(name)).train()
    torch.manual_seed(3)
    (batch,) = batches(ARCHITECTURES[name], 1, 16, seed=5)
    before = dict(float_model(name).named_parameters())
    losses = [(torch.randn_like(output) * output).mean() for output in outputs_of(model, batch)]
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    for key, parameter in model.named_parameters():
        if key not in before:
            continue
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 1e-7 or key.endswith("bias"), key


@pytest.mark.parametrize("name", NAMES)
def test_its_state_is_loaded_into_a_copy(name: str) -> None:
    model, other = quantized(name), copy.deepcopy(quantized(name))
    with torch.no_grad():
        for value in other.state_dict().values():
            value.zero_()
    other.load_state_dict(model.state_dict())
    (batch,) = batches(ARCHITECTURES[name], 1, 4)
    with torch.no_grad():
        pairs = zip(outputs_of(model, batch), outputs_of(other, batch), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("name", ["vit_multihead", "two_inputs", "transformer_decoder", "shared"])
def test_batches_by_name_are_as_good(name: str) -> None:
    architecture = ARCHITECTURES[name]
    tuples = batches(architecture, 3, 8)
    named = quantize(trained_like(name), list(by_name(architecture, tuples))).model
    (batch,) = batches(architecture, 1, 4)
    with torch.no_grad():
        pairs = zip(outputs_of(quantized(name), batch), outputs_of(named, batch), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def test_a_head_that_runs_in_training_only_is_fine_tuned() -> None:
    def loss(outputs: Any, labels: Tensor) -> Tensor:
        heads = (functional.cross_entropy(each, labels) for each in outputs)
        return torch.stack([*heads]).sum()

    model = copy.deepcopy(quantized("googlenet"))
    (inputs,) = batches(ARCHITECTURES["googlenet"], 1, 8)
    pairs = [(inputs, torch.arange(8))]
    done = trtqat.fine_tune(model, pairs, epochs=6, loss=loss, teacher=trained_like("googlenet"))
    assert done.epochs[-1].loss < 0.9 * done.epochs[0].loss
    assert {"aux.conv.conv", "aux.fc1", "aux.fc2", "fc"} <= done.weight_change.keys()
    # In evaluation it returns logits alone, as before.
    assert isinstance(model(*inputs), Tensor)
    with pytest.raises(UsageError, match="The model returns a GoogLeNetOutputs") as raised:
        trtqat.fine_tune(model, pairs, epochs=1)
    assert "Give loss=" in raised.value.remedy
