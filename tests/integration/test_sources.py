"""Exports of what other toolkits left in modules: each verified against its own model."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.ao.quantization.backend_config import get_tensorrt_backend_config
from torch.ao.quantization.quantize_fx import prepare_qat_fx

from tests.support.toolkits import ao, ao_activation, ao_deprecated, ao_model, ao_weight, modelopt
from tests.support.toolkits import modelopt_model as make_modelopt
from tests.support.verified_exports import EXPORTERS, FUSED, X86, assert_scales, export
from trtqat.exporting.options import Exporter, ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.tensors import TensorSpec


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
