"""INT8 is made of the floats that a model has: what its forward casts to others is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import trtqat
from trtqat.errors import ExportError, QuantizerError, SourceError
from trtqat.quant.quantize import quantize

pytestmark = pytest.mark.usefixtures("one_thread")


class Mixed(nn.Module):
    """Casts as it is told to."""

    def __init__(self, cast: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cast = cast
        self.stem = nn.Conv2d(3, 16, 3)
        self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(16, 16, 3))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        is_mixed = self.cast == "autocast"
        autocast = torch.autocast("cpu", torch.bfloat16) if is_mixed else contextlib.nullcontext()
        x = self.stem(x)
        with autocast:
            x = self.body(x)
        x = x.float().flatten(2)
        if self.cast == "product":
            wide = x.double()
            x = (wide @ wide.transpose(1, 2)).float()
        scores: Tensor = self.fc(x.mean(2))
        return scores


def images() -> Tensor:
    return torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("cast", "said"),
    [
        # Its convolution alone is cast, inside: what it reads is float32.
        ("autocast", "'body.1' computes in bfloat16"),
        ("product", "'matmul' computes in float64"),
    ],
)
def test_what_forward_casts_is_refused(cast: str, said: str) -> None:
    with pytest.raises(QuantizerError, match=said) as raised:
        quantize(Mixed(cast), [images()])
    assert "out of forward" in raised.value.remedy


def test_what_is_cast_and_stays_float_is_not() -> None:
    found = quantize(Mixed("autocast"), [images()], keep=["body"])
    assert [layer.kept for layer in found.layers] == ["", "as asked", ""]


def test_a_model_may_be_of_other_floats_as_a_whole() -> None:
    model = quantize(nn.Sequential(nn.Linear(8, 8)).bfloat16(), [torch.randn(4, 8).bfloat16()])
    assert model.int8_share == 1


def test_export_names_what_its_forward_casts(tmp_path: Path) -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = quantize(Mixed(), [images()]).model

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                scores: Tensor = self.inside(x).float()
            return scores

    with pytest.raises(ExportError, match=r"'inside\..*int8\.input' reads bfloat16") as raised:
        trtqat.export(Cast(), tmp_path / "int8.onnx", inputs=["x:1x3x12x12"])
    assert "torch.autocast" in raised.value.remedy


def test_an_output_in_bfloat16_is_refused(tmp_path: Path) -> None:
    class Short(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).bfloat16()

    model = quantize(Short(4, 4), [torch.randn(8, 4)]).model
    with pytest.raises(SourceError, match=r"output 'output' cannot .*BFloat16") as raised:
        trtqat.export(model, tmp_path / "int8.onnx", inputs=["x:1x4"])
    assert ".float()" in raised.value.remedy
