"""Quantizers that forward calls, and that are no modules of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import trtqat
from trtqat.errors import QuantizerError
from trtqat.quant.toolkits.silence import load_toolkit, quiet_toolkit


def quantizer(amax: float) -> Any:
    with quiet_toolkit():
        made = load_toolkit().nn.TensorQuantizer()
    made.register_buffer("_amax", torch.tensor(amax))
    return made.eval()


class Listed(nn.Module):
    """Its second layer has its quantizers in a list, which is no list of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)
        self.input, self.weight = quantizer(3.0), quantizer(0.5)
        self.listed = [quantizer(2.0), quantizer(0.5)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.linear(self.input(x), self.weight(self.first.weight), self.first.bias)
        x, weight = (q(t) for q, t in zip(self.listed, (x, self.second.weight), strict=True))
        return functional.linear(x, weight, self.second.bias)


def export(model: nn.Module, output: Path) -> trtqat.ExportResult:
    return trtqat.export(model, output, inputs=["x:1x4"], exporter="torchscript")


def test_quantizers_in_a_plain_list_are_refused(tmp_path: Path) -> None:
    """They became Round and Clip in the graph, and its layer ran in floating point."""
    with pytest.raises(QuantizerError, match="a TensorQuantizer, that is no submodule") as refused:
        export(Listed(), tmp_path / "model.onnx")
    assert "torch.nn.ModuleList" in refused.value.remedy
    assert not (tmp_path / "model.onnx").exists()


def test_the_way_out_helps(tmp_path: Path) -> None:
    model: Any = Listed()
    model.listed = nn.ModuleList(model.listed)
    assert export(model, tmp_path / "model.onnx").pairs == 4


def test_those_that_are_disabled_let_everything_through(tmp_path: Path) -> None:
    model = Listed()
    for each in model.listed:
        each.disable()
    assert export(model, tmp_path / "model.onnx").pairs == 2
