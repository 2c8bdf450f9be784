"""FP16 graphs of exported models: from the pipeline's file to a verified graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

import trtqat
from tests.support.half_graphs import check_promises, serialize, verify_half
from tests.support.models import EXAMPLES
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.verification.ranges import measure_largest
from trtqat.graph.half.derive import derive_half
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph.passes.raise_opset import newest_opset, raise_opset
from trtqat.quant.quantize import quantize
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array

# Measured 39 dB (two_inputs, a few values each) to 66 dB (depthwise); noise of one INT8
# code flipped in every tensor would be below 30 dB.
MIN_SQNR_DB = 33.0


def batches(name: str, *seeds: int) -> list[dict[str, Array]]:
    example = EXAMPLES[name]
    return [
        {
            spec.name: array.numpy()
            for spec, array in zip(example.inputs, example.batch(seed % 3 + 1, seed), strict=True)
        }
        for seed in seeds
    ]


class Peaks(nn.Module):
    """The best of cells that are hardly told apart, and what is gathered there."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU())
        self.heat, self.sides = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 4, 1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.body(images)
        scores, where = self.heat(x).sigmoid().flatten(1).topk(8, dim=1)
        at = (where % (x.shape[2] * x.shape[3])).unsqueeze(1).expand(-1, 4, -1)
        return {"boxes": self.sides(x).flatten(2).gather(2, at), "scores": scores}


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_that_fp16_does_not_tell_apart_are_no_fault(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    model = quantize(Peaks().eval(), [torch.randn(8, 3, 32, 32)]).model
    images = np.random.default_rng(seed).normal(size=(4, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "some.npz", images=images)
    result = trtqat.export(
        model,
        tmp_path / "m.onnx",
        inputs=["images:1x3x32x32"],
        precision="fp16",
        data=f"npz:{tmp_path / 'some.npz'}",
        exporter="torchscript",
    )
    assert result.half is not None
    pieces = result.half.agreement.pieces
    assert pieces is not None
    assert pieces.least_db > 40
    assert all(each.where == "output 'boxes'" for each in pieces.undecided)


@pytest.mark.parametrize(("written", "wanted"), [(19, 19), (17, 21), (23, 23)])
@pytest.mark.parametrize("name", EXAMPLES)
def test_exported_model_in_fp16(name: str, written: int, wanted: int, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    path = tmp_path / "model.onnx"
    export_onnx(
        example.qat(), path, ExportOptions(example.inputs, opset=written, exporter="torchscript")
    )
    model = raise_opset(ir.load(path), wanted)
    full = serialize(model)
    # The pipeline's graph itself, in the older opset, computes the same.
    raised = verify_half(path.read_bytes(), full, batches(name, 5), min_sqnr_db=100)
    assert raised.sqnr_db > 100

    report = derive_half(model, measure_largest(full, batches(name, 1, 2, 3)))
    half = serialize(model)
    check_promises(full, half, report)
    # Inputs that were not measured.
    agreement = verify_half(full, half, batches(name, 11, 12, 13), min_sqnr_db=MIN_SQNR_DB)
    assert MIN_SQNR_DB < agreement.sqnr_db < 100
    # FP32 is left in front, at what reads the inputs, and where folding a BatchNorm made a
    # scale that FP16 has too few bits for.
    causes = [each.reason for each in report.kept if "only FP32 is around" not in each.reason]
    assert all("is outside FP16's" in reason for reason in causes)
    assert bool(causes) == (name == "residual")
    assert report.casts <= 3
    assert report.scales_rounded > 0
    assert report.worst_scale_change <= 2**-11
    # ONNX Runtime's optimizer fails on Q/DQ before a Transpose from opset 21 on, in FP32 too.
    loaded = OnnxModel(half, as_written=wanted >= 21)
    for spec in (*loaded.inputs, *loaded.outputs):
        assert spec.dtype == "float32"
    weights = [v for v in model.graph.initializers.values() if v.dtype == ir.DataType.INT8]
    assert sum(v.const_value is not None and v.const_value.size > 8 for v in weights) >= 3


def test_a_model_in_the_newest_opset() -> None:
    """The opset that the command line may offer is one that the pass can work in."""
    assert newest_opset() >= 23


def test_activations_that_overflow_in_an_exported_model(tmp_path: Path) -> None:
    example = EXAMPLES["residual"]
    model = example.qat()
    # What BatchNorm divides by again: the convolution before it becomes large.
    state = model.state_dict()
    for key, factor in {
        "conv2.weight": 1e5,
        "conv2._weight_quantizer._amax": 1e5,
        "bn2.running_mean": 1e5,
        "bn2.running_var": 1e10,
    }.items():
        state[key].mul_(factor)
    path = tmp_path / "model.onnx"
    keep = ImproveOptions(fold_batch_norm=False)
    options = ExportOptions(example.inputs, opset=19, improve=keep, exporter="torchscript")
    export_onnx(model, path, options)
    graph = ir.load(path)
    full = serialize(graph)
    report = derive_half(graph, measure_largest(full, batches("residual", 1, 2, 3)))
    half = serialize(graph)
    check_promises(full, half, report)
    kept = {each.name: each.reason for each in report.kept}
    assert "reaches" in kept["/conv2/Conv"]
    assert "/bn2/BatchNormalization" in kept
    assert "/conv1/Conv" in report.half
    assert verify_half(full, half, batches("residual", 11)).sqnr_db > MIN_SQNR_DB
