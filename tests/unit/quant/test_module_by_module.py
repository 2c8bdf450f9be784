"""Every quantizer runs: in calibration, and in each run that something is compared with."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.hanging import HUNG_S
from trtqat.errors import InferenceError, QuantizerError
from trtqat.quant.module_by_module import module_by_module
from trtqat.quant.toolkits.quantizers import quantizers_of, read_quantizers
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

X = TensorSpec("x", (1, 5, 8))


class Encoder(nn.Module):
    """What PyTorch computes by one operator in eval mode, around and beside quantized layers."""

    def __init__(self, *, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encoder(x)
        x = self.attention(x, x, x, need_weights=False)[0]
        y: torch.Tensor = self.head(x.mean(1))
        return y


def encoder(*, norm_first: bool = False) -> nn.Module:
    torch.manual_seed(0)
    model = Encoder(norm_first=norm_first)
    insert_quantizers(model)
    calibrate(model, [torch.randn(4, 5, 8)])
    # A range so narrow that a run without the quantizers is another one.
    for name, module, _ in quantizers_of(model):
        if "linear2._input" in name:
            state: Any = module
            state._amax.mul_(0.05)
    return model.eval()


@pytest.mark.parametrize("norm_first", [False, True])
def test_calibration_reaches_the_layers_inside(*, norm_first: bool) -> None:
    model = Encoder(norm_first=norm_first)
    assert "encoder.layers.0.linear2" in insert_quantizers(model)
    assert torch.backends.mha.get_fastpath_enabled()
    calibrate(model, [torch.randn(4, 5, 8)])
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(read_quantizers(model).values())


def test_baseline_runs_what_training_does() -> None:
    model = encoder()
    x = torch.randn(3, 5, 8)
    expected = model(x).detach()  # with gradients, as in training: module by module
    with torch.no_grad():
        fused = model(x)
    assert (fused - expected).abs().max() > 0.01
    baseline = PyTorchModel(model, [X], device="cpu", required=list(read_quantizers(model)))
    found = baseline.session(3).run({"x": x.numpy()})["output"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    outputs, seen = baseline.observe({"x": x.numpy()}, read_quantizers(model))
    np.testing.assert_allclose(outputs["output"], expected, rtol=0, atol=1e-6)
    assert set(seen) == set(read_quantizers(model))


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        is_small = float(x.abs().sum()) < 1e3
        x = self.first(x)
        y: torch.Tensor = self.second(x) if is_small else x
        return y


def test_a_required_quantizer_that_does_not_run_is_named() -> None:
    model = Branch()
    insert_quantizers(model)
    calibrate(model, [torch.randn(4, 5, 8)])
    baseline = PyTorchModel(model, [X], device="cpu", required=list(read_quantizers(model)))
    large = np.full((2, 5, 8), 1e3, np.float32)
    assert baseline.session(2).run({"x": large / 1e4})["output"].shape == (2, 5, 8)
    with pytest.raises(InferenceError, match=r"'second\._\w+_quantizer' .* did not run"):
        baseline.session(2).run({"x": large})
    with pytest.raises(InferenceError, match="did not run"):
        baseline.observe({"x": large}, [])


def test_compiled_submodules_run_as_they_are_written() -> None:
    model = Branch()
    insert_quantizers(model)
    calibrate(model, [torch.randn(4, 5, 8)])
    compiled: Any = torch.compile(model.first, backend="eager")
    model.first = compiled
    x = np.zeros((2, 5, 8), np.float32)
    names = [name for name, _, _ in quantizers_of(model)]
    assert "first._orig_mod._input_quantizer" in names
    PyTorchModel(model, [X], device="cpu", required=names).session(2).run({"x": x})


def test_uncalibrated_inside_of_the_fused_path_says_so() -> None:
    model = Encoder()
    insert_quantizers(model)
    with pytest.raises(QuantizerError, match=r"linear1\._input_quantizer.*fused transformer path"):
        read_quantizers(model.encoder)
    with pytest.raises(QuantizerError, match="Calibrate it, or disable it"):
        read_quantizers(model.head)


def test_switch_is_restored_by_the_last_of_several_threads() -> None:
    mha = torch.backends.mha
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with module_by_module():
            inside.set()
            leave.wait(HUNG_S)

    thread = threading.Thread(target=other)
    with module_by_module():
        thread.start()
        assert inside.wait(HUNG_S)
    assert not mha.get_fastpath_enabled()
    leave.set()
    thread.join()
    assert mha.get_fastpath_enabled()
    with pytest.raises(ValueError, match="inside"), module_by_module():
        raise ValueError("inside")
    assert mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with module_by_module(), module_by_module(compiled=True):
            pass
        assert not mha.get_fastpath_enabled()
    finally:
        mha.set_fastpath_enabled(True)
