"""What FP16 can hold is found on numbers that fit the model: its ranges, or data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.support.commands import in_process
from trtqat.errors import DataError
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.pipeline import export_onnx
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.tensors import TensorSpec

X = TensorSpec("x", (1, 3, 16, 16))
# Ranges come behind the exporter, and this one takes a third of the other's time.
HALF = {"opset": 19, "precision": "fp16", "exporter": "torchscript"}


class PixelSum(nn.Module):
    """A float head that adds up pixels: of 0 to 255 the sum is beyond 65504."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc(torch.relu(self.conv(x)).sum((2, 3)) / 1000)
        return y


class Energy(PixelSum):
    """Divides by the energy of its input, before any quantizer sees that."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        energy = x.pow(2).sum((1, 2, 3), keepdim=True)
        return super().forward(x / (energy / 768).sqrt())


def pixels(count: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 16, 16), generator=generator).float()


def qat(kind: type[PixelSum]) -> PixelSum:
    torch.manual_seed(0)
    model = kind()
    insert_quantizers(model)
    calibrate(model, [pixels()])
    return model.eval()


def exported(kind: type[PixelSum], folder: Path, data: str | None = None) -> ExportResult:
    options = ExportOptions((X,), data=data, **HALF)  # type: ignore[arg-type]
    return export_onnx(qat(kind), folder / "m.onnx", options)


def kept(result: ExportResult) -> dict[str, str]:
    assert result.half is not None
    return {each.op_type: each.reason for each in result.half.report.kept}


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "pixels.npz"
    np.savez(path, x=pixels(20).numpy())
    return f"npz:{path}"


def test_ranges_of_the_quantizers_are_enough_behind_them(tmp_path: Path) -> None:
    result = exported(PixelSum, tmp_path)
    assert "reaches" in kept(result)["ReduceSum"]
    assert not [note for note in result.notes if "--data" in note]
    # And so nothing overflows on what it was calibrated with.
    proto = onnx.load(tmp_path / "m.onnx")
    (total,) = (node.output[0] for node in proto.graph.node if node.op_type == "ReduceSum")
    types = {each.name: each.type.tensor_type.elem_type for each in proto.graph.value_info}
    assert types[total] == onnx.TensorProto.FLOAT


def test_before_the_first_quantizer_data_is_needed_and_taken(tmp_path: Path, data: str) -> None:
    without = exported(Energy, tmp_path)
    assert "ReduceSum" not in kept(without) or "reaches" not in kept(without)["ReduceSum"]
    (note,) = (note for note in without.notes if "--data" in note)
    assert "'x' is not quantized as it is" in note
    with_data = exported(Energy, tmp_path, data)
    assert "reaches" in kept(with_data)["ReduceSum"]
    assert not [note for note in with_data.notes if "--data" in note]


def test_data_that_does_not_fit_is_told_before_the_export(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros((4, 1, 16, 16), np.float32))
    with pytest.raises(DataError, match=r"shape \(1, 16, 16\), but input 'x' takes \(3, 16, 16\)"):
        exported(PixelSum, tmp_path, f"npz:{tmp_path / 'other.npz'}")
    assert not (tmp_path / "m.onnx").exists()


def test_command_line_takes_data_for_models_and_graphs(tmp_path: Path, data: str) -> None:
    graph = tmp_path / "plain.onnx"
    export_onnx(qat(Energy), graph, ExportOptions((X,), opset=19, exporter="torchscript"))
    options = ["--precision", "fp16", "--data", data, "--json", "r.json"]
    done = in_process(tmp_path, "export", graph, "-o", "h.onnx", *options)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())["half"]["report"]
    assert any(each["op_type"] == "ReduceSum" for each in report["kept"])
