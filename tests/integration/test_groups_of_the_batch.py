"""A convolution whose weights are made of an input has as many groups as the batch has samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trtqat.errors import ExportError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.quant.quantize import quantize
from trtqat.tensors import TensorSpec

pytestmark = pytest.mark.usefixtures("one_thread")

SAMPLES, CHANNELS = 2, 4


class Modulated(nn.Module):
    """StyleGAN's: each sample has the weights that its style makes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.style = nn.Linear(8, CHANNELS)
        self.weight = nn.Parameter(torch.randn(CHANNELS, CHANNELS, 3, 3))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        samples, channels, height, width = x.shape
        weight = self.weight[None] * self.style(z).view(samples, 1, channels, 1, 1)
        x = x.reshape(1, samples * channels, height, width)
        y = functional.conv2d(x, weight.flatten(0, 1), padding=1, groups=samples)
        return y.view(samples, channels, height, width)


def test_it_is_float_and_its_way_out_helps(tmp_path: Path) -> None:
    batch = torch.randn(SAMPLES, CHANNELS, 6, 6), torch.randn(SAMPLES, 8)
    result = quantize(Modulated().eval(), [batch])
    reasons = {layer.name: layer.kept for layer in result.layers}
    assert reasons == {"style": "", "conv2d": "its weight is computed from the input"}
    shapes = tuple(TensorSpec(name, tuple(x.shape)) for name, x in zip("xz", batch, strict=True))
    options = ExportOptions(shapes, exporter="torchscript")
    with pytest.raises(ExportError) as raised:
        export_onnx(result.model, tmp_path / "m.onnx", options)
    assert "--static-batch" in raised.value.remedy
    export_onnx(result.model, tmp_path / "m.onnx", replace(options, static_batch=True))
