"""Both of PyTorch's exporters, and what only one of them can read."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.models import EXAMPLES
from trtqat.errors import ExportError
from trtqat.exporting.options import Exporter, ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.quant.quantize import quantize
from trtqat.quant.toolkits.silence import load_toolkit, quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import TensorSpec

X = TensorSpec("x", (1, 3, 16, 16))


def test_torchscript_module(tmp_path: Path) -> None:
    model = EXAMPLES["depthwise"].qat()
    toolkit = load_toolkit().nn.TensorQuantizer
    toolkit.use_fb_fake_quant = True
    try:
        with quiet_toolkit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(model, EXAMPLES["depthwise"].batch(2))  # type: ignore[no-untyped-call]
    finally:
        toolkit.use_fb_fake_quant = False
    result = export_onnx(traced, tmp_path / "m.onnx", ExportOptions((X,)))
    assert result.pairs == 6
    assert "TorchScript" in result.exporter
    graph = onnx.load(str(tmp_path / "m.onnx"))
    names = [node.name for node in graph.graph.node]
    assert "/layers/0/_input_quantizer/QuantizeLinear" in names


class Named(nn.Module):
    """Returns a dict, of which one member is on the way to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.fake_quantize_per_tensor_affine(x, 0.05, 0, -128, 127)
        features = torch.relu(self.conv(x)).mean((2, 3))
        return {"logits": self.fc(features), "features": features}


class Filled(Named):
    """Puts one member after the other into its dict."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.fake_quantize_per_tensor_affine(x, 0.05, 0, -128, 127)
        members = {"features": torch.relu(self.conv(x)).mean((2, 3))}
        members["logits"] = self.fc(members["features"])
        return members


@pytest.mark.parametrize("way", ["traced", "scripted"])
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_module_that_returns_a_dict(way: str, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 16, 16)
    if way == "traced":
        model = torch.jit.trace(Named().eval(), x, strict=False)  # type: ignore[no-untyped-call]
    else:
        model = torch.jit.script(Named().eval())
    expected = model(x)
    result = export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,)))
    assert (result.pairs, result.notes) == (1, ())
    graph = onnx.load(str(result.path)).graph
    assert [output.name for output in graph.output] == list(expected)
    names = {node.name for node in graph.node}
    assert {"/conv/Conv", "/fc/Gemm", "/fake_quantize/QuantizeLinear"} <= names
    assert {"conv.weight", "fc.weight"} <= {each.name for each in graph.initializer}
    written = {*names, *(name for node in graph.node for name in (*node.input, *node.output))}
    assert not [name for name in written if "returns_dict" in name]
    found = OnnxModel(result.path).session(2).run({"x": x.numpy()})
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor.detach().numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_dict_that_is_filled_later_is_refused(tmp_path: Path) -> None:
    options = ExportOptions((X,))
    with pytest.raises(ExportError, match="exporter failed") as caught:
        export_onnx(torch.jit.script(Filled().eval()), tmp_path / "m.onnx", options)
    assert "one literal" in caught.value.remedy
    assert not list(tmp_path.iterdir())


class FallsBack(nn.Module):
    """Branches on its data: torch.export refuses it, a trace takes the branch that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y if x.shape[0] > 0 and float(x.abs().max()) < 1e9 else -y


class SumOfSquares(nn.Module):
    """With an operator that only the torch.export-based exporter translates."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.vdot(x.flatten(), x.flatten())


class MaskedAttention(nn.Module):
    """Each token may look at the first two."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unsqueeze(1)
        mask = torch.tensor([[[[True, True, False]]]])
        return nn.functional.scaled_dot_product_attention(x, x, x, mask).squeeze(1)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_auto_falls_back_and_says_so(tmp_path: Path) -> None:
    model = FallsBack()
    insert_quantizers(model)
    calibrate(model, [torch.randn(4, 3, 16, 16)])
    result = export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,)))
    assert result.exporter == "TorchScript exporter (the torch.export-based one failed)"
    with pytest.raises(ExportError, match=r"torch\.export-based exporter failed"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,), exporter="dynamo"))


class Paired(nn.Module):
    """Halves what it joined: two samples, or two of each, to torch.export the same number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        left, right = torch.chunk(self.conv(torch.cat([left, right])), 2)
        return left - right


class Counted(nn.Module):
    """Asks for the length of its input, a number to both exporters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y.view(len(x) * 2, 2, -1)


def test_auto_falls_back_where_the_batch_would_be_fixed(tmp_path: Path) -> None:
    sides = (TensorSpec("left", X.shape), TensorSpec("right", X.shape))
    model = quantize(Paired(), [(torch.randn(4, 3, 16, 16), torch.randn(4, 3, 16, 16))]).model
    result = export_onnx(model, tmp_path / "m.onnx", ExportOptions(sides))
    assert result.exporter == "TorchScript exporter (the torch.export-based one failed)"
    assert result.verification.batch_sizes == (2, 1, 3)
    with pytest.raises(ExportError, match="forward fixes the batch of input 'left' to 2"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions(sides, exporter="dynamo"))


@pytest.mark.parametrize("exporter", ["auto", "torchscript", "dynamo"])
def test_a_batch_that_none_leaves_open_names_the_ways_out(
    exporter: Exporter, tmp_path: Path
) -> None:
    model = quantize(Counted(), [torch.randn(4, 3, 16, 16)]).model
    with pytest.raises(ExportError) as caught:
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,), exporter=exporter))
    assert "x.shape[0] for len(x)" in caught.value.remedy
    assert "--static-batch" in caught.value.remedy
    export_onnx(
        model, tmp_path / "m.onnx", ExportOptions((X,), exporter=exporter, static_batch=True)
    )


class Scaled(nn.Module):
    """Its forward has defaults, one by name only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(
        self, x: torch.Tensor, scale: float = 2.0, *, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        y: torch.Tensor = self.linear(x) * scale
        return y if mask is None else y * mask


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_defaults_are_no_inputs(exporter: Exporter, tmp_path: Path) -> None:
    model = quantize(Scaled(), [torch.randn(8, 4)]).model
    kind = type(model)
    options = ExportOptions((TensorSpec("x", (1, 4)),), exporter=exporter)
    result = export_onnx(model, tmp_path / "m.onnx", options)
    assert [each.name for each in onnx.load(str(result.path)).graph.input] == ["x"]
    assert type(model) is kind


def test_exporter_that_fails_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Results go to standard output; PyTorch writes the graph of what it cannot export there."""
    model = nn.Sequential(nn.Linear(4, 4), SumOfSquares())
    insert_quantizers(model)
    calibrate(model, [torch.randn(8, 4)])
    options = ExportOptions((TensorSpec("input", (1, 4)),), exporter="torchscript")
    with pytest.raises(ExportError, match="vdot"):
        export_onnx(model, tmp_path / "model.onnx", options)
    assert capfd.readouterr().out == ""


def test_attention_in_a_new_opset(tmp_path: Path) -> None:
    """Its two products stay visible to the passes, and a mask of one row for all is accepted."""
    model = nn.Sequential(nn.Linear(4, 4), MaskedAttention())
    insert_quantizers(model)
    calibrate(model, [torch.randn(8, 3, 4)])
    options = ExportOptions((TensorSpec("input", (1, 3, 4)),), opset=23, exporter="dynamo")
    result = export_onnx(model, tmp_path / "model.onnx", options)
    operators = Counter(node.op_type for node in onnx.load(str(result.path)).graph.node)
    assert (result.opset, operators["MatMul"], operators["Attention"]) == (23, 3, 0)


class Rotated(nn.Module):
    """Casts a sum to the type that it has, as the rotary embedding of timm does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        result: torch.Tensor = self.last((y + y.roll(1, dims=1)).to(x.dtype))
        return result


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_cast_to_the_same_type_goes(exporter: Exporter, tmp_path: Path) -> None:
    model = quantize(Rotated().eval(), [torch.randn(2, 3, 16, 16)]).model
    result = export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,), exporter=exporter))
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    assert "Cast" not in {node.op_type for node in graph.node}
    assert "float-output" not in {each.rule for each in result.findings}


class Positioned(nn.Module):
    """Computes positions for as many samples as there are, as timm's EdgeNeXt does."""

    def __init__(self) -> None:
        super().__init__()
        self.position, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(x + self.position(torch.ones(x.shape[0], 3, 16, 16)))
        return result


def test_lint_does_not_promise_what_quantize_left(tmp_path: Path) -> None:
    quantized = quantize(Positioned().eval(), [torch.randn(2, 3, 16, 16)])
    assert {each.name: each.kept for each in quantized.layers}["position"]
    options = ExportOptions((X,), exporter="torchscript")
    findings = export_onnx(quantized.model, tmp_path / "m.onnx", options).findings
    (found,) = (each for each in findings if each.rule == "layer-not-quantized")
    assert found.where == "/position/Conv"
    assert "trtqat quantize does, or says why not." in found.remedy


class Resampled(nn.Module):
    """Fits a grid of positions to its image, as ViTs for any size do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.last = nn.Conv2d(3, 128, 4, 4), nn.Conv2d(128, 2, 1)
        self.positions = nn.Parameter(torch.randn(1, 128, 24, 24))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.patches(x)
        grid = functional.interpolate(
            self.positions, size=y.shape[-2:], mode="bicubic", antialias=True
        )
        result: torch.Tensor = self.last(y + grid)
        return result


def test_a_table_that_is_resized_needs_no_operator(tmp_path: Path) -> None:
    """Antialiasing is of opset 18, and 17 the newest that TensorRT 8.6 reads."""
    model = quantize(Resampled().eval(), [torch.randn(2, 3, 16, 16)]).model
    result = export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,)))
    operators = Counter(node.op_type for node in onnx.load(str(result.path)).graph.node)
    assert (result.opset, operators["Resize"], operators["Add"]) == (17, 0, 1)
