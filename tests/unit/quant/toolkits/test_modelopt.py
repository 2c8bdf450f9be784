"""What is read from ModelOpt's quantizers, and which ones are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.toolkits import modelopt, modelopt_model
from trtqat.errors import QuantizerError
from trtqat.quant.fake_quantize import FakeQuantize
from trtqat.quant.toolkits.quantizers import Quantizer, read_quantizers
from trtqat.quant.toolkits.range_buffers import fit_to_checkpoint
from trtqat.quant.toolkits.replacement import replaced_quantizers


def quantizer(amax: Any = 2.0, **changes: Any) -> Any:
    """One quantizer with attributes changed; those with a leading underscore directly."""
    toolkit = modelopt()
    configuration = {key: value for key, value in changes.items() if not key.startswith("_")}
    made = toolkit.nn.TensorQuantizer(toolkit.config.QuantizerAttributeConfig(**configuration))
    if amax is not None:
        made.amax = torch.as_tensor(amax)
    for name, value in changes.items():
        if name.startswith("_"):
            setattr(made, name, value)
    return made.eval()


def read(each: nn.Module) -> Quantizer | None:
    return read_quantizers(nn.ModuleDict({"fc": nn.Sequential(each)}))["fc.0"]


def with_pre_quant_scale(**changes: Any) -> Any:
    made = quantizer(**changes)
    made.pre_quant_scale = torch.tensor([0.5, 1.0, 3.0, 0.1])
    return made


def chain() -> Any:
    return modelopt().nn.SequentialQuantizer(quantizer(), quantizer())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: quantizer(None), "has no amax: it was not calibrated"),
        (lambda: quantizer(_dynamic=True), "is dynamic"),
        (lambda: quantizer(_if_calib=True), "calibration mode"),
        (lambda: quantizer(_if_calib=True, _if_quant=False), "calibration mode"),
        (lambda: quantizer(num_bits=(4, 3)), "floating point, E4M3"),
        (lambda: quantizer(num_bits=4), "signed 4-bit"),
        (lambda: quantizer(unsigned=True), "unsigned 8-bit"),
        (lambda: quantizer(None, block_sizes={-1: 16}), "every block of elements"),
        (lambda: quantizer(_fake_quant=False), "real codes"),
        (lambda: quantizer(_dequantize=True), "real codes"),
        (lambda: quantizer(_bias={-1: None, "type": "static"}), "a bias"),
        (lambda: quantizer(_use_constant_amax=True), "largest FP8 number"),
        (lambda: quantizer(backend="mine"), "backend 'mine'"),
        (lambda: quantizer(rotate=True), "rotates its input"),
        (lambda: quantizer(rotate=True, _disabled=True), "rotates its input"),
        (lambda: quantizer(_rotate={"enable": True}), "rotates its input"),
        (lambda: quantizer(float("nan")), "NaN amax"),
        (lambda: quantizer(torch.tensor(2.0).half()), "torch.float16"),
        (lambda: with_pre_quant_scale(_disabled=True), "still multiplies its input"),
        (lambda: with_pre_quant_scale(_if_quant=False), "still multiplies its input"),
        (chain, "SequentialQuantizer"),
    ],
)
def test_refused_by_name_with_a_way_out(make: Any, message: str) -> None:
    with pytest.raises(QuantizerError, match=message) as caught:
        read(make())
    assert "'fc.0" in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    "make",
    [
        lambda: quantizer(enable=False),
        lambda: quantizer(_if_quant=False),
        lambda: quantizer(None, _disabled=True, _num_bits=(4, 3)),
        lambda: modelopt().nn.SequentialQuantizer(quantizer(enable=False), quantizer(enable=False)),
    ],
)
def test_disabled(make: Any) -> None:
    assert read(make()) is None


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(
    "amax", [torch.tensor(1.5), torch.tensor([0.3, 2.0, 1.0, 0.7]).reshape(4, 1)]
)
def test_stand_in_computes_the_same(amax: torch.Tensor, narrow: bool) -> None:
    axis = 0 if amax.numel() > 1 else None
    original = quantizer(amax, narrow_range=narrow, axis=axis)
    found = read(original)
    assert found is not None
    assert found.axis == axis
    assert found.low == (-127 if narrow else -128)
    stand_in = FakeQuantize("q", found.scale, found.axis, found.low, found.high)
    x = torch.randn(4, 50) * 2
    torch.testing.assert_close(stand_in(x), original(x), rtol=0, atol=1e-6)
    # Beyond both ends: the lowest code shows the narrow range.
    low = stand_in(torch.full((4, 1), -9.0)) / found.scale.reshape(-1, 1)
    assert low.round().unique().tolist() == [found.low]


def test_pre_quant_scale_is_kept_and_told() -> None:
    original = with_pre_quant_scale()
    model = nn.Sequential(original)
    x = torch.randn(3, 4)
    expected = model(x)
    quantizers = read_quantizers(model)
    assert quantizers["0"] is not None
    assert "SmoothQuant" in quantizers["0"].notes[0]
    with replaced_quantizers(model, quantizers):
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-6)
        assert (model(x) - x).abs().max() > 0.5
    # Switched off in the toolkit's own way, it is no part of the quantizer.
    original._enable_pre_quant_scale = False
    plain = read_quantizers(model)["0"]
    assert plain is not None
    assert plain.multiplier is None


def test_checkpoint_brings_ranges_to_a_model_without() -> None:
    state = modelopt_model().state_dict()
    fresh = modelopt_model(calibrated=False)
    assert "0.input_quantizer._amax" not in fresh.state_dict()
    fit_to_checkpoint(fresh, state)
    fresh.load_state_dict(state)
    found = read_quantizers(fresh)["0.input_quantizer"]
    assert found is not None
    assert found.scale == state["0.input_quantizer._amax"] / 127


def test_smoothed_checkpoint_brings_its_scales() -> None:
    toolkit = modelopt()
    smoothed = modelopt_model(toolkit.INT8_SMOOTHQUANT_CFG)
    fresh = modelopt_model(calibrated=False)
    fit_to_checkpoint(fresh, smoothed.state_dict())
    fresh.load_state_dict(smoothed.state_dict())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(fresh(x), smoothed(x), rtol=0, atol=0)
    found = read_quantizers(fresh)["5.input_quantizer"]
    assert found is not None
    assert found.multiplier is not None


def test_modules_are_restored() -> None:
    model = modelopt_model()
    before = dict(model.named_modules())
    with replaced_quantizers(model, read_quantizers(model)) as stand_ins:
        # Convolution and linear layers with two each, the pool with one.
        assert len(stand_ins) == 7
    assert dict(model.named_modules()) == before
