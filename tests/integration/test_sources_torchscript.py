"""Exports of TorchScript with fake quantizers: each verified against its own model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.toolkits import ao_activation, ao_model, ao_weight
from tests.support.verified_exports import FUSED, X86, Operators, assert_scales, export
from trtqat.errors import QuantizerError, SourceError
from trtqat.exporting.loading import load_model
from trtqat.exporting.source import ModelSource


def jit_trace(model: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        # FakeQuantize asks its buffers whether it is on.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        traced = torch.jit.trace(model, torch.randn(2, 3, 8, 8))  # type: ignore[no-untyped-call]
    assert isinstance(traced, torch.jit.ScriptModule)
    return traced


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


@pytest.mark.parametrize("form", ["plain", "cachemask"])
def test_torchscript_of_bare_operators(form: str, tmp_path: Path) -> None:
    """All of them in one scope: what tells them apart are their numbers."""
    result, constants = export(jit_trace(Operators(form).eval()), tmp_path)
    assert result.pairs == 3
    assert result.verification.sqnr_db > 40
    scales = [float(v) for k, v in constants.items() if k.endswith(".scale") and not v.ndim]
    assert sorted(scales) == [np.float32(0.02), np.float32(0.03)]


def test_a_module_of_bare_operators_is_told_to_be_traced(tmp_path: Path) -> None:
    model = Operators("plain").eval()
    with pytest.raises(SourceError, match="no active quantizer that is known") as caught:
        export(model, tmp_path)
    assert "torch.jit.trace(model.eval(), x).save('model.ts')" in caught.value.remedy
    jit_trace(model).save(str(tmp_path / "model.ts"))
    result, _ = export(load_model(ModelSource(str(tmp_path / "model.ts"))), tmp_path)
    assert result.pairs
    assert result.verification.sqnr_db > 60


def test_rounding_of_your_own_is_told_what_is_seen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x / 0.05).round().clamp(-128, 127) * 0.05

    with pytest.raises(SourceError, match="no active quantizer that is known") as caught:
        export(jit_trace(Rounded()), tmp_path)
    assert "torch.fake_quantize_per_tensor_affine" in caught.value.remedy
    # Where nothing is of trtqat's domain, PyTorch's exporter warns of it.
    assert capfd.readouterr().err == ""


def test_an_operator_of_a_library_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As ``torchvision::nms`` of a detector, in a process that did not import torchvision."""

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.trtqat_tests.twice(x)  # type: ignore[no-any-return]

    path = tmp_path / "m.jit.pt"
    with torch.library._scoped_library("trtqat_tests", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CompositeExplicitAutograd")
        jit_trace(Model()).save(str(path))
    with pytest.raises(SourceError, match="Unknown builtin op: trtqat_tests::twice") as caught:
        load_model(ModelSource(str(path)))
    assert "returns torch.jit.load(path)" in caught.value.remedy


@pytest.mark.parametrize("place", [0, 46], ids=["list of files", "name of a file"])
def test_a_damaged_file_is_refused(place: int, tmp_path: Path) -> None:
    path = tmp_path / "m.jit.pt"
    jit_trace(nn.Identity()).save(str(path))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + place
    content[at : at + 2] = b"\xff\xff"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="is not a TorchScript file"):
        load_model(ModelSource(str(path)))
