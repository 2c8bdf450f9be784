"""Exports of what other toolkits and file formats hold: each verified against its own model."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.ao.quantization.backend_config import get_tensorrt_backend_config
from torch.ao.quantization.fx import _decomposed as registers_operators  # noqa: F401
from torch.ao.quantization.quantize_fx import prepare_qat_fx

from tests.support.toolkits import ao, ao_activation, ao_deprecated, ao_model, ao_weight, modelopt
from tests.support.toolkits import modelopt_model as make_modelopt
from trtqat.errors import QuantizerError, SourceError
from trtqat.exporting.loading import load_model
from trtqat.exporting.options import Exporter, ExportOptions, ExportResult
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.source import ModelSource
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.quant.toolkits.quantizers import read_quantizers
from trtqat.quant.toolkits.silence import quiet_toolkit
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


def jit_trace(model: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        # FakeQuantize asks its buffers whether it is on.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        traced = torch.jit.trace(model, torch.randn(2, 3, 8, 8))  # type: ignore[no-untyped-call]
    assert isinstance(traced, torch.jit.ScriptModule)
    return traced


def save_program(model: nn.Module, path: Path, *, static: bool = False) -> Path:
    shapes = None if static else ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.randn(4, 3, 8, 8),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


@pytest.mark.parametrize("exporter", EXPORTERS)
class TestModelOpt:
    def test_default(self, exporter: Exporter, tmp_path: Path) -> None:
        model = make_modelopt()
        result, constants = export(model, tmp_path, exporter, "input")
        assert (result.quantizers, result.pairs, result.disabled) == (7, 7, 6)
        assert result.verification.sqnr_db > 30
        amax = model.get_buffer("0.weight_quantizer._amax")
        expected = (amax.flatten() / 127).numpy()
        np.testing.assert_array_equal(constants["0.weight_quantizer.scale"], expected)

    def test_conv3d(self, exporter: Exporter, tmp_path: Path) -> None:
        """Its convolution asks its quantizers for their format while it runs."""
        model = nn.Sequential(nn.Conv3d(3, 4, 3), nn.Flatten()).eval()
        batch = torch.randn(4, 3, 4, 4, 4)
        with quiet_toolkit(), contextlib.redirect_stdout(None):
            modelopt().quantize(model, modelopt().INT8_DEFAULT_CFG, lambda each: each(batch))
        options = ExportOptions((TensorSpec("input", (4, 3, 4, 4, 4)),), exporter=exporter)
        assert export_onnx(model, tmp_path / "model.onnx", options).pairs == 2

    def test_smooth_quant(self, exporter: Exporter, tmp_path: Path) -> None:
        model = make_modelopt(modelopt().INT8_SMOOTHQUANT_CFG)
        result, _ = export(model, tmp_path, exporter, "input")
        assert result.pairs == 7
        assert sum("SmoothQuant" in note for note in result.notes) == 2
        operators = [node.op_type for node in onnx.load(str(result.path)).graph.node]
        assert operators.count("Mul") == 2


@pytest.mark.parametrize("exporter", EXPORTERS)
class TestTorchAo:
    def test_batch_norm_in_the_weight(self, exporter: Exporter, tmp_path: Path) -> None:
        """A per-channel quantizer on a weight that the graph computes: weight · gamma / sigma."""
        model = ao_model()
        result, constants = export(model, tmp_path, exporter)
        assert result.pairs == 8
        assert result.verification.sqnr_db > 60
        assert_scales(model, constants)

    def test_batch_norm_behind_it_is_folded(self, exporter: Exporter, tmp_path: Path) -> None:
        """The division by gamma / sigma behind the convolution goes with the BatchNorm."""
        options = ExportOptions((TensorSpec("x", (4, 3, 8, 8)),), exporter=exporter)
        result = export_onnx(ao_model(), tmp_path / "model.onnx", options)
        assert result.batch_norms is not None
        assert result.batch_norms.count > 0
        assert (result.batch_norms.codes_changed, result.batch_norms.kept) == (0, ())
        operators = {node.op_type for node in onnx.load(str(result.path)).graph.node}
        assert not operators & {"BatchNormalization", "Div"}
        assert result.verification.sqnr_db > 60

    def test_fused_observers(self, exporter: Exporter, tmp_path: Path) -> None:
        model = ao_model(weight=ao_weight(FUSED))
        result, constants = export(model, tmp_path, exporter)
        assert result.verification.sqnr_db > 60
        assert_scales(model, constants)

    def test_default_of_prepare_qat(self, exporter: Exporter, tmp_path: Path) -> None:
        """Affine codes of seven bits: a Clip and a symmetric pair compute the same."""
        result, _ = export(ao_model(X86.activation, X86.weight), tmp_path, exporter)
        assert result.pairs == 8
        assert result.verification.sqnr_db > 60
        assert sum("Clip" in note for note in result.notes) == 5

    def test_prepare_qat_fx(self, exporter: Exporter, tmp_path: Path) -> None:
        """It gives one quantizer to both sides of a pool, under several names."""
        torch.manual_seed(0)
        model: Any = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 4)
        )
        mapping = ao.QConfigMapping().set_global(ao.QConfig(ao_activation(), ao_weight()))
        with ao_deprecated():
            model = prepare_qat_fx(
                model.train(),
                mapping,
                (torch.randn(2, 3, 8, 8),),
                backend_config=get_tensorrt_backend_config(),
            )
        model(torch.randn(8, 3, 8, 8))
        model.apply(ao.disable_observer).eval()
        names = [
            name
            for name, module in model.named_modules(remove_duplicate=False)
            if isinstance(module, ao.FakeQuantize)
        ]
        result, _ = export(model, tmp_path, exporter, "input")
        assert result.quantizers < len(names) == result.pairs
        assert result.verification.sqnr_db > 40


class TestTorchScript:
    @pytest.mark.parametrize("weight", [ao_weight(), ao_weight(FUSED)])
    def test_of_torch_ao(self, weight: Any, tmp_path: Path) -> None:
        """Its activations' quantizers run in hooks, so all of them have one scope."""
        model = ao_model(weight=weight)
        jit_trace(model).save(str(tmp_path / "m.jit.pt"))
        result, constants = export(load_model(ModelSource(str(tmp_path / "m.jit.pt"))), tmp_path)
        assert result.pairs == 8
        assert result.notes == ()
        assert result.verification.sqnr_db > 60
        assert_scales(model, constants)

    def test_of_the_default_of_prepare_qat(self, tmp_path: Path) -> None:
        result, _ = export(jit_trace(ao_model(X86.activation, X86.weight)), tmp_path)
        assert result.verification.sqnr_db > 60

    def test_observing_is_refused_by_name(self, tmp_path: Path) -> None:
        model = jit_trace(ao_model(ao_activation(), ao_weight(FUSED), observing=True))
        with pytest.raises(QuantizerError, match=r"'conv1\.weight_fake_quant' still observes"):
            export(model, tmp_path)

    def test_zero_point_is_refused_by_name(self, tmp_path: Path) -> None:
        """The fused quantizer behind the first ReLU has one."""
        model = jit_trace(ao_model(ao_activation(FUSED)))
        with pytest.raises(QuantizerError, match=r"'conv1\.activation_post_process' has the codes"):
            export(model, tmp_path)

    def test_disabled_quantizers_leave_no_pair(self, tmp_path: Path) -> None:
        model = ao_model(weight=ao_weight(FUSED))
        model.get_submodule("fc.weight_fake_quant").disable_fake_quant()  # type: ignore[operator]
        result, _ = export(jit_trace(model), tmp_path)
        assert result.pairs == 7


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


@pytest.mark.parametrize("form", ["plain", "cachemask"])
def test_torchscript_of_bare_operators(form: str, tmp_path: Path) -> None:
    """All of them in one scope: what tells them apart are their numbers."""
    result, constants = export(jit_trace(Operators(form).eval()), tmp_path)
    assert result.pairs == 3
    assert result.verification.sqnr_db > 40
    scales = [float(v) for k, v in constants.items() if k.endswith(".scale") and not v.ndim]
    assert sorted(scales) == [np.float32(0.02), np.float32(0.03)]


class TestProgram:
    @pytest.mark.parametrize("exporter", EXPORTERS)
    @pytest.mark.parametrize("form", ["plain", "cachemask", "decomposed"])
    def test_every_form(self, form: str, exporter: Exporter, tmp_path: Path) -> None:
        original = Operators(form).eval()
        # PyTorch 2.13 exports its per-tensor operators with a fixed batch only.
        static = form != "decomposed"
        path = save_program(original, tmp_path / "m.pt2", static=static)
        model = load_model(ModelSource(str(path)))
        x = torch.randn(4, 3, 8, 8)
        torch.testing.assert_close(model(x), original(x), rtol=0, atol=1e-5)
        found = read_quantizers(model)
        assert len(found) == 3
        # The clipping of narrow codes is exact, its note names the quantizer.
        result, constants = export(model, tmp_path, exporter, static=static)
        assert result.pairs == 3
        assert sum("codes [-127, 127]" in note for note in result.notes) == 1
        scales = [value for name, value in constants.items() if name.endswith(".scale")]
        assert {float(s) for s in scales if s.ndim == 0} == {np.float32(0.03), np.float32(0.02)}
        assert any(s.ndim and np.array_equal(s, original.scales.numpy()) for s in scales)  # type: ignore[operator]

    @pytest.mark.filterwarnings("ignore:`isinstance.treespec:FutureWarning")
    @pytest.mark.parametrize("decomposed", [False, True])
    def test_of_torch_ao(self, decomposed: bool, tmp_path: Path) -> None:
        model = ao_model(X86.activation, X86.weight)
        path = save_program(model, tmp_path / "m.pt2")
        if decomposed:
            torch.export.save(torch.export.load(path).run_decompositions(), path)
        loaded = load_model(ModelSource(str(path)))
        x = torch.randn(5, 3, 8, 8)
        assert torch.equal(loaded(x), model(x))
        result, constants = export(loaded, tmp_path)
        assert (result.quantizers, result.pairs) == (8, 8)
        assert result.verification.sqnr_db > 60
        # The same names and numbers as from the modules.
        assert_scales(model, constants)

    def test_weights_stored_as_codes(self, tmp_path: Path) -> None:
        """What convert_pt2e leaves: no quantize before the weight's dequantize."""

        class Folded(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                codes = torch.arange(-127, 128, 23, dtype=torch.int8)
                self.register_buffer("codes", codes.reshape(4, 3, 1, 1))
                self.register_buffer("scales", torch.tensor([0.01, 0.02, 0.03, 0.04]))
                self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                ops = torch.ops.quantized_decomposed
                code = ops.quantize_per_tensor(x, 0.03, 0, -128, 127, torch.int8)
                x = ops.dequantize_per_tensor(code, 0.03, 0, -128, 127, torch.int8)
                weight = ops.dequantize_per_channel(
                    self.codes, self.scales, self.zeros, 0, -127, 127, torch.int8
                )
                return nn.functional.conv2d(x, weight)

        original = Folded().eval()
        loaded = load_model(ModelSource(str(save_program(original, tmp_path / "m.pt2"))))
        x = torch.randn(2, 3, 8, 8)
        torch.testing.assert_close(loaded(x), original(x), rtol=0, atol=1e-5)
        assert export(loaded, tmp_path)[0].pairs == 2

    def test_static_batch(self, tmp_path: Path) -> None:
        path = save_program(Operators("plain").eval(), tmp_path / "m.pt2", static=True)
        with pytest.raises(SourceError, match="input 'x' fixed to 4, and got 2") as caught:
            export(load_model(ModelSource(str(path))), tmp_path)
        assert "dynamic_shapes" in caught.value.remedy
        assert "--static-batch" in caught.value.remedy
        result, _ = export(load_model(ModelSource(str(path))), tmp_path, static=True)
        assert result.verification.batch_sizes == (4,)

    def test_program_without_quantization(self, tmp_path: Path) -> None:
        path = save_program(nn.Sequential(nn.Conv2d(3, 4, 1)).eval(), tmp_path / "m.pt2")
        with pytest.raises(SourceError, match="no active quantizer"):
            export(load_model(ModelSource(str(path))), tmp_path, name="input")


FACTORY = """
import torch
from tests.support.toolkits import ao_model
from torch.ao.quantization import get_default_qat_qconfig

def program():
    shapes = ({0: torch.export.Dim("batch")},)
    default = get_default_qat_qconfig("x86")
    model = ao_model(default.activation, default.weight)
    return torch.export.export(model, (torch.randn(4, 3, 8, 8),), dynamic_shapes=shapes)

def module():
    print("Inserted 8 quantizers")
    return program().module()
"""


@pytest.mark.parametrize("factory", ["program", "module"])
def test_factory_may_return_a_program(
    factory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    model = load_model(ModelSource(f"{tmp_path / 'net.py'}:{factory}"))
    assert capsys.readouterr().out == ""
    assert export(model, tmp_path)[0].pairs == 8
