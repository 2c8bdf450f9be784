"""A recurrence that is written by hand is INT8 but for its first step, which reads zeros alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trtqat
from trtqat.exporting.options import ExportOptions
from trtqat.quant.quantize import quantize
from trtqat.tensors import TensorSpec

STEPS, WIDTH = 3, 24
SHAPES = (TensorSpec("x", (1, STEPS, 16)),)

pytestmark = pytest.mark.usefixtures("one_thread")


class Recurrence(nn.Module):
    """A state of zeros, and a sum of two linear layers for each step."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.given, self.state = nn.Linear(16, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.last = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        samples = x.shape[0]
        h = torch.zeros(samples, WIDTH) if self.form == "zeros" else x.new_zeros(samples, WIDTH)
        for step in range(STEPS):
            h = torch.tanh(self.given(x[:, step]) + self.state(h))
        logits: Tensor = self.last(h)
        return logits


class Cell(nn.Module):
    """PyTorch's own cell, which begins with zeros where it is given none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.last = nn.GRUCell(16, WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], WIDTH)
        for step in range(STEPS):
            h = self.cell(x[:, step], h)
        logits: Tensor = self.last(h)
        return logits


def samples(count: int) -> Tensor:
    return torch.randn(count, STEPS, 16, generator=torch.Generator().manual_seed(0))


def built(path: Path) -> tuple[int, int]:
    """How many quantized layers a plan for RTX has, and how many of them are INT8."""
    coverage = trtqat.build(path, path.with_suffix(".engine"), for_="rtx").coverage
    assert coverage is not None
    return len(coverage.wanted), len(coverage.wanted) - len(coverage.missed)


@pytest.mark.parametrize("form", ["zeros", "new_zeros"])
def test_a_model(form: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = quantize(Recurrence(form).eval(), [samples(8)]).model
    exported = trtqat.export_onnx(model, path, ExportOptions(SHAPES, exporter="torchscript"))
    assert exported.warnings == ()
    assert built(path) == (2 * STEPS, 2 * STEPS)


@pytest.mark.parametrize("model", [Recurrence("zeros"), Cell()])
def test_a_float_graph(model: nn.Module, tmp_path: Path) -> None:
    source, path, data = (tmp_path / name for name in ("float.onnx", "int8.onnx", "data.npz"))
    np.savez(data, x=samples(64).numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.eval(),
            (samples(2),),
            str(source),
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
    result = trtqat.quantize_source(str(source), path, data=f"npz:{data}")
    assert len(result.layers) == 2 * STEPS
    assert built(path) == (2 * STEPS, 2 * STEPS)
