"""What a trace holds for good, though the model decides it anew for each input."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trtqat
from trtqat.exporting.options import ExportOptions
from trtqat.quant.quantize import quantize
from trtqat.tensors import TensorSpec


class Deciding(nn.Module):
    """A convolution, and something that depends on what ``decide`` says of two inputs."""

    mask: Tensor

    def __init__(self, decide: Callable[[nn.Module, Tensor, Tensor], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.decide = decide
        self.register_buffer("mask", torch.ones(4))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        factor = 2.0 if self.decide(self, x, y) else 1.0
        return torch.relu(self.conv(x) * factor + y.sum())


BY_VALUES = {
    "an if": lambda model, x, y: bool(x.mean() > 0.3),
    "the second input": lambda model, x, y: bool(y[0, 0] > 0),
    "a number": lambda model, x, y: y.sum().item() > 5,
    "a float": lambda model, x, y: float(x.max()) > 9,
    "a list": lambda model, x, y: y.detach()[0].tolist()[0] > 7,
    "an array": lambda model, x, y: x.detach().numpy().max() > 7,
    "what NumPy asks": lambda model, x, y: np.asarray(x.detach()).max() > 7,
    "one of the values": lambda model, x, y: 7.5 in y,
    "equal tensors": lambda model, x, y: torch.equal(y, torch.zeros_like(y)),
    "the second of two": lambda model, x, y: torch.allclose(torch.zeros(2), y[0]),
    "behind layers": lambda model, x, y: int(model.conv(x).sum()) > 5,
}
FIXED = {
    "a shape": lambda model, x, y: x.shape[2] > 3 and int(x.shape[3] / 2) == 4,
    "a number of elements": lambda model, x, y: x.numel() > 8 and bool(torch.tensor(x.dim()) == 4),
    "a buffer": lambda model, x, y: bool(model.mask.sum() > 3),
    "a weight": lambda model, x, y: model.conv.weight.sum().item() > 3,
    "zeros of a shape": lambda model, x, y: bool(torch.zeros_like(x).sum() == 0),
    "a constant": lambda model, x, y: bool(torch.tensor([1.0, 2.0]).max() > 1),
}


def warnings_of(
    decide: Callable[[nn.Module, Tensor, Tensor], object],
    path: Path,
    caplog: pytest.LogCaptureFixture,
) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.rand(4, 3, 8, 8, generator=generator), torch.rand(4, 2, generator=generator))
        for _ in range(2)
    ]
    inputs = (TensorSpec("x", (1, 3, 8, 8)), TensorSpec("y", (1, 2)))
    model = quantize(Deciding(decide), batches).model
    with caplog.at_level(logging.WARNING):
        trtqat.export_onnx(model, path, ExportOptions(inputs, exporter="torchscript"))
    return [each for each in caplog.messages if "reads values of its inputs" in each]


@pytest.mark.parametrize("decide", BY_VALUES.values(), ids=BY_VALUES)
def test_a_decision_by_values_is_told_with_its_line(
    decide: Callable[[nn.Module, Tensor, Tensor], object],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (warning,) = warnings_of(decide, tmp_path / "model.onnx", caplog)
    assert f"({Path(__file__).name}, line {decide.__code__.co_firstlineno})" in warning


@pytest.mark.parametrize("decide", FIXED.values(), ids=FIXED)
def test_what_is_the_same_for_every_input_is_not(
    decide: Callable[[nn.Module, Tensor, Tensor], object],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert warnings_of(decide, tmp_path / "model.onnx", caplog) == []
