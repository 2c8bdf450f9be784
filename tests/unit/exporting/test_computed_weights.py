"""What is computed of weights alone is in the graph as what it is: a constant."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization

import trtqat
from tests.support.models import quantizer
from tests.support.toolkits import ao_activation, ao_deprecated, ao_weight
from trtqat.exporting.options import Exporter, ExportOptions
from trtqat.quant.quantize import quantize
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import TensorSpec

X = TensorSpec("input", (1, 8))
EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")


def exported(model: nn.Module, path: Path, exporter: Exporter) -> onnx.GraphProto:
    """The graph, once it is verified."""
    result = trtqat.export_onnx(model, path, ExportOptions((X,), exporter=exporter))
    assert result.verification.pieces is not None
    assert result.verification.pieces.least_db > 110
    return onnx.load(path).graph


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_parametrizations(exporter: Exporter, tmp_path: Path) -> None:
    torch.manual_seed(0)
    norms = (orthogonal, spectral_norm, weight_norm)
    made = nn.Sequential(*(each(nn.Linear(8, 8)) for each in norms))
    model = quantize(made, [torch.randn(16, 8)]).model
    names, classes = list(model.state_dict()), [type(each) for each in model.modules()]
    graph = exported(model, tmp_path / "m.onnx", exporter)
    pairs = {"QuantizeLinear": 3, "DequantizeLinear": 6}
    assert Counter(node.op_type for node in graph.node) == {**pairs, "Gemm": 3}
    codes = {each.name for each in graph.initializer if each.data_type == onnx.TensorProto.INT8}
    assert {f"{number}.weight.codes" for number in range(3)} <= codes
    # The model is as it was.
    assert list(model.state_dict()) == names
    assert [type(each) for each in model.modules()] == classes


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_weights_that_hooks_compute(exporter: Exporter, tmp_path: Path) -> None:
    """So many that one of them had another code where ONNX's operators computed it again."""
    torch.manual_seed(0)
    wide = nn.utils.weight_norm(nn.Linear(4096, 64))
    made = nn.Sequential(wide, nn.ReLU(), nn.utils.spectral_norm(nn.Linear(64, 8)))
    model = quantize(made.eval(), [torch.randn(16, 4096)]).model
    state, x = (
        {name: each.clone() for name, each in model.state_dict().items()},
        torch.ones(1, 4096),
    )
    expected = model(x)
    options = ExportOptions((TensorSpec("input", (1, 4096)),), exporter=exporter)
    trtqat.export_onnx(model, tmp_path / "m.onnx", options)
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert {node.op_type for node in graph.node} == {
        "QuantizeLinear",
        "DequantizeLinear",
        "Gemm",
        "Relu",
    }
    # The model is as it was, and computes its weights again.
    assert list(model.state_dict()) == list(state)
    assert torch.equal(model(x), expected)
    with torch.no_grad():
        wide_of(model).weight_g.mul_(2)
    assert not torch.equal(model(x), expected)


def wide_of(model: nn.Module) -> Any:
    """Its first layer; what a hook has put there is not declared."""
    return model[0]  # type: ignore[index]


class Gate(nn.Module):
    """A parametrization that reads what forward has set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = torch.ones(())

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.gate


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.gate = Gate()
        register_parametrization(self.linear, "weight", self.gate)

    def forward(self, input: Tensor) -> Tensor:
        self.gate.gate = torch.sigmoid(input.mean())
        y: Tensor = self.linear(input)
        return y


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_what_forward_sets_is_no_constant(exporter: Exporter, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = quantize(Gated().eval(), [torch.randn(16, 8)]).model
    graph = exported(model, tmp_path / "m.onnx", exporter)
    assert "Sigmoid" in {node.op_type for node in graph.node}


class Quantizes(nn.Module):
    """A quantizer in front of a layer, and one that is a parametrization of its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        with ao_deprecated():
            self.of_input, of_weight = ao_activation()(), ao_weight()()
        register_parametrization(self.linear, "weight", of_weight)
        for each in (self.of_input, of_weight):
            each(torch.randn(8, 8))
            each.disable_observer()

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self.linear(self.of_input(input))
        return y


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_quantizer_inside_stays_one(exporter: Exporter, tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = exported(Quantizes().eval(), tmp_path / "m.onnx", exporter)
    assert Counter(node.op_type for node in graph.node)["DequantizeLinear"] == 2


class Standardised(nn.Conv2d):
    """Computes its weight in forward, as the convolutions of NFNet do."""

    def __init__(self) -> None:
        super().__init__(256, 256, 3)
        self.gain = nn.Parameter(torch.rand(256) + 0.5)

    def standardised(self) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        norm = functional.batch_norm(flat, None, None, self.gain, training=True, eps=1e-6)
        return norm.reshape_as(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.standardised(), self.bias)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_weights_that_forward_computes_have_the_codes_of_pytorch(
    exporter: Exporter, static: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    conv = Standardised()
    model = quantize(nn.Sequential(conv).eval(), [torch.randn(2, 256, 3, 3)]).model
    options = ExportOptions((TensorSpec("input", (1, 256, 3, 3)),), exporter=exporter)
    trtqat.export_onnx(model, tmp_path / "m.onnx", replace(options, static_batch=static))
    graph = onnx.load(tmp_path / "m.onnx").graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    (node,) = (each for each in graph.node if each.name.endswith("weight/DequantizeLinear"))
    codes, scale = (constants[name] for name in node.input[:2])
    with torch.no_grad():
        expected = model.get_submodule("0.int8.weight")(conv.standardised()).numpy()
    assert np.array_equal(codes, np.round(expected / scale.reshape(-1, 1, 1, 1)))


class OpenFor(nn.Module):
    """One quantizer for a weight that forward computes, and for what the input makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.on_weights = quantizer()
        self.on_weights.register_buffer("_amax", torch.tensor(3.0))

    def forward(self, input: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean(1, keepdim=True)
        gate = (input.mean() < 5).to(input.dtype)
        closed = self.on_weights(centred * gate)
        y: Tensor = input @ self.on_weights(centred) + input @ closed
        return y


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_weight_that_depends_on_the_input_stays_so(exporter: Exporter, tmp_path: Path) -> None:
    """Though it is that of the other call for every sample that the graph is made and tried of."""
    torch.manual_seed(0)
    model, path = OpenFor().eval(), tmp_path / "m.onnx"
    trtqat.export_onnx(model, path, ExportOptions((X,), exporter=exporter, static_batch=True))
    x = torch.randn(1, 8) + 10
    with OnnxModel(path, as_written=True) as graph, graph.session(1) as session:
        (found,) = session.run({"input": x.numpy()}).values()
    with torch.no_grad():
        assert np.allclose(found, model(x).numpy(), atol=1e-4)


class Noted(Standardised):
    """Saves something besides tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: object) -> None:
        pass


def test_what_a_model_saves_besides_tensors_is_no_weight(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = quantize(nn.Sequential(Noted()).eval(), [torch.randn(2, 256, 3, 3)]).model
    options = ExportOptions((TensorSpec("input", (1, 256, 3, 3)),), exporter="dynamo")
    assert trtqat.export_onnx(model, tmp_path / "m.onnx", options).pairs == 2
