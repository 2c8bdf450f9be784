"""Exports of programs with fake quantizers: each verified against its own model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization.fx import _decomposed as registers_operators  # noqa: F401

from tests.support.toolkits import ao_model
from tests.support.verified_exports import EXPORTERS, X86, Operators, assert_scales, export
from trtqat.errors import SourceError
from trtqat.exporting.loading import load_model
from trtqat.exporting.options import Exporter
from trtqat.exporting.source import ModelSource
from trtqat.quant.toolkits.quantizers import read_quantizers


def save_program(model: nn.Module, path: Path, *, static: bool = False) -> Path:
    shapes = None if static else ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.randn(4, 3, 8, 8),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


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
        result, constants = export(loaded, tmp_path, "dynamo" if decomposed else "torchscript")
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
    assert export(model, tmp_path, "torchscript")[0].pairs == 8
