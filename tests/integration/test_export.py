"""Exports of models that differ, through the public function."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from tests.support.models import EXAMPLES, Residual, quantizer
from tests.support.toolkits import modelopt
from trtqat.errors import ExportError, QuantizerError, SourceError
from trtqat.exporting import traced_graph
from trtqat.exporting.options import Exporter, ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.lint import lint
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph_file.reading import read_model
from trtqat.numerics import difference
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import TensorSpec

X = TensorSpec("x", (1, 3, 16, 16))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_graph_is_canonical_and_computes_the_same_and_lint_is_silent(
    name: str, exporter: Exporter, tmp_path: Path
) -> None:
    example = EXAMPLES[name]
    model = example.qat()
    path = tmp_path / "model.onnx"
    result = export_onnx(model, path, ExportOptions(example.inputs, exporter=exporter))
    known = ["quantized-conv-transpose"] if name == "transposed" else []
    assert [warning.rule for warning in result.warnings] == known
    assert lint(read_model(path)) == result.findings
    assert result.summary.int8_share == 1.0
    assert all(layer.macs for layer in result.summary.layers)
    assert result.summary.int8_layers == len(result.summary.layers)
    assert result.pairs == example.pairs
    assert result.batch_norms is not None
    assert result.batch_norms.codes_changed == 0
    assert result.batch_norms.count == {"residual": 2, "depthwise": 2}.get(name, 0)

    graph = onnx.load(str(path))
    onnx.checker.check_model(graph, full_check=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]
    assert graph.ir_version == 8
    constants = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    counts = Counter(node.op_type for node in graph.graph.node)
    weights = [node for node in graph.graph.node if node.input[0] in constants]
    weights = [node for node in weights if node.op_type == "DequantizeLinear"]
    assert all(constants[node.input[0]].dtype == np.int8 for node in weights)
    # TensorRT 8.6 takes no INT8 initializer for a MatMul.
    assert len(weights) == (0 if name == "attention" else result.improvements.weights.count)
    assert counts["DequantizeLinear"] == example.pairs
    assert counts["QuantizeLinear"] == example.pairs - len(weights)
    assert counts["BatchNormalization"] == 0
    for node in graph.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero_point = (constants[each] for each in node.input[1:])
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert (scale > 0).all()
        # An axis exactly where there are channels.
        assert bool(scale.ndim) == any(a.name == "axis" for a in node.attribute)
    names = [node.name for node in graph.graph.node]
    assert len(set(names)) == len(names)
    assert all(name.startswith("/") for name in names)
    batch_dims = [i.type.tensor_type.shape.dim[0].dim_param for i in graph.graph.input]
    assert all(batch_dims)

    # Against the toolkit's own fake quantization, at a batch that was not traced.
    inputs = example.batch(5)
    with torch.no_grad(), quiet_toolkit():
        expected = model(*inputs)
    expected = expected if isinstance(expected, dict) else {"output": expected}
    session = OnnxModel(path, as_written=True).session(5)
    actual = session.run(
        {spec.name: array.numpy() for spec, array in zip(example.inputs, inputs, strict=True)}
    )
    assert actual.keys() == expected.keys()
    for output, tensor in expected.items():
        for position in range(5):
            assert difference(tensor[position].numpy(), actual[output][position]).sqnr_db > 30


@pytest.mark.parametrize("name", EXAMPLES)
def test_passes_can_be_switched_off(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    as_written = ImproveOptions(fold_batch_norm=False, int8_weights=False, repair=False)
    options = ExportOptions(example.inputs, exporter="torchscript", improve=as_written)
    result = export_onnx(example.qat(), tmp_path / "plain.onnx", options)
    assert result.batch_norms is None
    assert result.improvements.repairs == ()
    counts = Counter(node.op_type for node in onnx.load(str(result.path)).graph.node)
    assert counts["QuantizeLinear"] == counts["DequantizeLinear"] == example.pairs
    assert counts["BatchNormalization"] == {"residual": 2, "depthwise": 2}.get(name, 0)

    everything = ImproveOptions(int8_weights=True, repair=True)
    options = ExportOptions(example.inputs, exporter="torchscript", improve=everything)
    improved = export_onnx(example.qat(), tmp_path / "m.onnx", options)
    assert improved.size_bytes < result.size_bytes
    merged = {"residual": 1, "attention": 2}.get(name, 0)
    counts = Counter(node.op_type for node in onnx.load(str(improved.path)).graph.node)
    assert counts["DequantizeLinear"] == example.pairs - merged
    assert len(improved.improvements.repairs) == bool(merged)
    refused = [finding.where for finding in improved.findings if "matmul" in finding.rule]
    assert len(refused) == (4 if name == "attention" else 0)


def test_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = EXAMPLES["residual"].qat()
    before = {name: type(module) for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,), exporter="torchscript"))
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class Masked(nn.Module):
    """Two classes are out of the question."""

    mask: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        masked = -float("inf")
        self.register_buffer("mask", torch.tensor([0.0, masked, 0.0, masked]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mask


class RootOfNegative(nn.Module):
    """NaN, from numbers that are none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(-x.abs() - 1)


def test_masked_output(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), Masked())
    insert_quantizers(model)
    calibrate(model, [torch.randn(8, 4)])
    options = ExportOptions((TensorSpec("input", (1, 4)),))
    assert export_onnx(model, tmp_path / "model.onnx", options).verification.sqnr_db > 100


def test_model_that_returns_nan_is_told(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), RootOfNegative())
    insert_quantizers(model)
    calibrate(model, [torch.randn(8, 4)])
    options = ExportOptions((TensorSpec("input", (1, 4)),))
    with pytest.raises(ExportError, match="model itself returns NaN at output 'output'"):
        export_onnx(model, tmp_path / "model.onnx", options)
    assert not list(tmp_path.iterdir())


def test_static_batch(tmp_path: Path) -> None:
    inputs = (TensorSpec("x", (4, 3, 16, 16)),)
    model = EXAMPLES["residual"].qat()
    options = ExportOptions(inputs, static_batch=True, exporter="torchscript")
    assert export_onnx(model, tmp_path / "m.onnx", options).verification.batch_sizes == (4,)
    assert OnnxModel(tmp_path / "m.onnx").batch_range == (4, 4)


def test_wrong_graph_is_not_written_and_the_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scale of the second convolution that is off by a factor of 20 must be found there."""
    from trtqat.graph.passes.canonical_graph import canonicalize

    def spoil(model: object, *, opset: int) -> object:
        assert isinstance(model, ir.Model)
        pairs = canonicalize(model, opset=opset)
        scale = model.graph.initializers["conv2._input_quantizer.scale"]
        assert scale.const_value is not None
        wrong = np.asarray(scale.const_value.numpy() / 20, np.float32)
        scale.const_value = ir.tensor(wrong, name=scale.name)
        return pairs

    monkeypatch.setattr(traced_graph, "canonicalize", spoil)
    model = EXAMPLES["residual"].qat()
    place = "'/conv2/_input_quantizer/QuantizeLinear' quantizes otherwise"
    with pytest.raises(ExportError, match=place):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,), exporter="torchscript"))
    assert list(tmp_path.iterdir()) == []


def test_models_without_an_active_quantizer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no active quantizer"):
        export_onnx(
            nn.Conv2d(3, 4, 1),
            tmp_path / "m.onnx",
            ExportOptions((TensorSpec("input", (1, 3, 8, 8)),), exporter="torchscript"),
        )


def test_uncalibrated_quantizer_is_refused_by_name(tmp_path: Path) -> None:
    model = EXAMPLES["residual"].qat()
    assert isinstance(model, Residual)
    model.shortcut = quantizer()
    with pytest.raises(QuantizerError, match="'shortcut' has no amax"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,)))
    assert list(tmp_path.iterdir()) == []


def test_disabled_quantizers_leave_no_pair(tmp_path: Path) -> None:
    model = EXAMPLES["residual"].qat()
    assert isinstance(model, Residual)
    model.shortcut.disable()  # type: ignore[operator]
    result = export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,), exporter="torchscript"))
    assert (result.quantizers, result.disabled, result.pairs) == (9, 1, 9)


class Branches(nn.Module):
    """Two branches, of which an inference takes the first alone."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.both = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.taken(x)
        return y + self.other(x) if self.both else y


def branches(toolkit: str) -> nn.Module:
    """As each toolkit leaves it; the other branch's input was never calibrated."""
    model, batch = Branches().eval(), torch.randn(8, 8)
    if toolkit == "modelopt":
        mtq = modelopt()
        with quiet_toolkit(), contextlib.redirect_stdout(None):
            quantized: nn.Module = mtq.quantize(model, mtq.INT8_DEFAULT_CFG, lambda m: m(batch))
        return quantized.eval()
    insert_quantizers(model)
    model.both = True
    calibrate(model, [batch])
    model.both = False
    del model.other._input_quantizer._amax  # type: ignore[union-attr]
    return model


@pytest.mark.parametrize("toolkit", ["modelopt", "pytorch-quantization"])
def test_quantizers_that_never_run_are_noted(toolkit: str, tmp_path: Path) -> None:
    options = ExportOptions((TensorSpec("x", (1, 8)),), exporter="torchscript")
    model = branches(toolkit)
    result = export_onnx(model, tmp_path / "m.onnx", options)
    (note,) = result.notes
    assert note.startswith("2 quantizers never run, as 'other.")
    # ModelOpt gives each layer one for its output, disabled.
    disabled = 2 if toolkit == "modelopt" else 0
    assert (result.pairs, result.disabled) == (2, disabled)

    # What runs is refused as before, and by its name.
    model.both = True  # type: ignore[assignment]
    with pytest.raises(QuantizerError, match=r"'other\._?input_quantizer' has no amax"):
        export_onnx(model, tmp_path / "both.onnx", options)


@pytest.mark.parametrize("disabled", [False, True])
def test_a_range_that_nothing_reads_may_be_nan(disabled: bool, tmp_path: Path) -> None:
    """As pytorch-quantization's load_calib_amax(strict=False) leaves what did not run."""
    model = branches("pytorch-quantization")
    unread: Any = model.get_submodule("other._input_quantizer")
    unread.register_buffer("_amax", torch.tensor(torch.nan))
    if disabled:
        unread.disable()
    options = ExportOptions((TensorSpec("x", (1, 8)),), exporter="torchscript")
    result = export_onnx(model, tmp_path / "m.onnx", options)
    assert (result.pairs, result.disabled) == (2, int(disabled))


class Asking(nn.Module):
    """Its forward looks at what its quantizer is."""

    def __init__(self) -> None:
        super().__init__()
        self.on_input = quantizer()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if type(self.on_input).__name__ == "TensorQuantizer":
            x = 2 * self.on_input(x)
        y: torch.Tensor = self.fc(x)
        return y


def test_a_model_that_takes_another_way_while_it_is_traced_is_refused(tmp_path: Path) -> None:
    model = Asking()
    insert_quantizers(model)
    calibrate(model, [torch.randn(8, 8)])
    options = ExportOptions((TensorSpec("x", (1, 8)),), exporter="torchscript")
    with pytest.raises(ExportError, match="something else while its quantizers are replaced"):
        export_onnx(model, tmp_path / "m.onnx", options)
    assert list(tmp_path.iterdir()) == []
