"""Models of PyTorch's own quantizers and operators, exported and verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.ao.quantization.fx import _decomposed as registers_operators  # noqa: F401

from tests.support.toolkits import ao
from trtqat.exporting.options import Exporter, ExportOptions, ExportResult
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.tensors import Array, TensorSpec

FUSED = ao.FusedMovingAvgObsFakeQuantize
X86 = ao.get_default_qat_qconfig("x86")
EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")


def export(
    model: nn.Module,
    folder: Path,
    exporter: Exporter = "auto",
    name: str = "x",
    *,
    static: bool = False,
) -> tuple[ExportResult, dict[str, Array]]:
    """Exports and verifies; returns the constants of the graph as well."""
    path = folder / "model.onnx"
    inputs = (TensorSpec(name, (4, 3, 8, 8)),)
    # As written: folding would change the scales that the tests look at.
    options = ExportOptions(
        inputs,
        exporter=exporter,
        static_batch=static,
        improve=ImproveOptions(fold_batch_norm=False, int8_weights=False, repair=False),
    )
    result = export_onnx(model, path, options)
    graph = onnx.load(str(path)).graph
    return result, {i.name: numpy_helper.to_array(i) for i in graph.initializer}


def assert_scales(model: nn.Module, constants: dict[str, Array]) -> None:
    """Every scale of PyTorch's own quantizers is in the graph bit for bit."""
    found = 0
    for name, module in model.named_modules():
        if isinstance(module, ao.FakeQuantize):
            np.testing.assert_array_equal(constants[f"{name}.scale"].ravel(), module.scale.numpy())
            found += 1
    assert found == 8


class Operators(nn.Module):
    """Each form of fake quantization that a program may hold, as bare operators."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.conv = nn.Conv2d(3, 4, 3)
        self.other = nn.Conv2d(4, 4, 1)
        self.register_buffer("scales", torch.tensor([0.004, 0.002, 0.003, 0.001]))
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int32))

    def quantize(self, x: torch.Tensor, scale: float, low: int = -128) -> torch.Tensor:
        aten, decomposed = torch.ops.aten, torch.ops.quantized_decomposed
        y: torch.Tensor
        if self.form == "plain":
            y = torch.fake_quantize_per_tensor_affine(x, scale, 0, low, 127)
        elif self.form == "cachemask":
            y = aten.fake_quantize_per_tensor_affine_cachemask(x, scale, 0, low, 127)[0]
        else:
            codes = decomposed.quantize_per_tensor(x, scale, 0, low, 127, torch.int8)
            y = decomposed.dequantize_per_tensor(codes, scale, 0, low, 127, torch.int8)
        return y

    def quantized_weight(self) -> torch.Tensor:
        aten, decomposed = torch.ops.aten, torch.ops.quantized_decomposed
        weight, parameters = self.conv.weight, (self.scales, self.zeros, 0, -128, 127)
        y: torch.Tensor
        if self.form == "plain":
            y = torch.fake_quantize_per_channel_affine(weight, *parameters)  # type: ignore[arg-type]
        elif self.form == "cachemask":
            y = aten.fake_quantize_per_channel_affine_cachemask(weight, *parameters)[0]
        else:
            codes = decomposed.quantize_per_channel(weight, *parameters, torch.int8)
            y = decomposed.dequantize_per_channel(codes, *parameters, torch.int8)
        return y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.conv2d(self.quantize(x, 0.03), self.quantized_weight())
        y = self.quantize(y, 0.02, -127)
        logits: torch.Tensor = self.other(torch.relu(y)).flatten(1)
        return logits
