"""Models that write into what they are given, as ``x /= 255`` does: others read the same batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trtqat
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.quant.quantize import quantize
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import Array, TensorSpec

SPEC = TensorSpec("x", (-1, 3, 8, 8))


class InPlace(nn.Module):
    """A convolution of the input, which is another one afterwards."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.mul_(3).add_(1)
        y: torch.Tensor = self.conv(x)
        x.zero_()
        return y


def images(count: int = 4) -> Array:
    return np.random.default_rng(0).standard_normal((count, 3, 8, 8), np.float32)


def model() -> InPlace:
    return InPlace().eval()


def test_ranges_are_those_of_the_batches_as_they_were_given() -> None:
    batches = [torch.from_numpy(each) for each in images(8).reshape(2, 4, 3, 8, 8)]
    given = [each.clone() for each in batches]
    found = quantize(model(), batches, method="max")
    assert all(torch.equal(before, after) for before, after in zip(given, batches, strict=True))
    (seen,) = (each for each in found.ranges if not each.is_weight)
    assert seen.amax == pytest.approx(float((torch.cat(given) * 3 + 1).abs().max()))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_the_graph_is_verified_on_what_the_model_was_given(exporter: str, tmp_path: Path) -> None:
    quantized = quantize(model(), [torch.from_numpy(images())]).model
    options = ExportOptions((SPEC.with_batch(1),), exporter=exporter)  # type: ignore[arg-type]
    result = export_onnx(quantized, tmp_path / "m.onnx", options)
    assert result.verification.sqnr_db > 100


def test_others_read_the_same_arrays() -> None:
    x = images()
    baseline = PyTorchModel(model(), [SPEC], device="cpu")
    expected = model()(torch.from_numpy(x.copy())).detach().numpy()
    given = x.copy()
    (found,) = baseline.session(4).run({"x": given}).values()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(given, x)
    outputs, _ = baseline.observe({"x": given}, [])
    np.testing.assert_array_equal(next(iter(outputs.values())), expected)
    np.testing.assert_array_equal(given, x)


def test_a_step_behind_the_baseline_gets_the_images(tmp_path: Path) -> None:
    quantized = quantize(model(), [torch.from_numpy(images())])
    options = ExportOptions((SPEC.with_batch(1),), exporter="torchscript")
    export_onnx(quantized.model, tmp_path / "m.onnx", options)
    np.savez(tmp_path / "d.npz", x=images())
    report = trtqat.evaluate(
        tmp_path / "m.onnx",
        f"npz:{tmp_path / 'd.npz'}",
        baseline=PyTorchModel(model(), [SPEC], device="cpu"),
        fake_quantized=PyTorchModel(quantized.model, [SPEC], device="cpu", name="step"),
        latency=None,
    )
    (step,) = (each for each in report.contenders if each.role == "step")
    assert step.to_step_before is not None
    assert report.subject.to_step_before is not None
    # The step is the baseline with codes, and the graph is the step.
    assert 20 < (step.to_step_before.agreement.sqnr_db or 0) < 60
    assert (report.subject.to_step_before.agreement.sqnr_db or 0) > 100
