"""What ``export`` makes of linear layers behind bytes, and for whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

import trtqat
from trtqat.errors import ExportError
from trtqat.exporting import convolutions as room
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import Exporter, ExportOptions, ExportResult
from trtqat.graph.passes.write_convolutions import WrittenConvolutions, write_convolutions
from trtqat.pixels import Pixels
from trtqat.plan.header import Target
from trtqat.provenance import METADATA_KEY, read_provenance
from trtqat.report.export_words import describe_export
from trtqat.runtime.onnx_model import OnnxModel

PIXELS = Pixels("nhwc", (0.5, 0.4, 0.3), (0.25,))
INPUTS = (trtqat.TensorSpec("x", (1, 3, 16, 16)),)
# They are written behind the exporter, and this one takes a third of the other's time.
BY: Exporter = "torchscript"


class Classifier(nn.Module):
    """A mean over the image, and two linear layers behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.body(x).mean((2, 3), keepdim=True))
        return y


@pytest.fixture(scope="module")
def quantized() -> nn.Module:
    torch.manual_seed(0)
    return trtqat.quantize(Classifier().eval(), [torch.rand(8, 3, 16, 16)], for_="8.6").model


def exported(
    model: nn.Module, path: Path, *, bytes_: bool = True, for_: Target | None = None
) -> ExportResult:
    pixels = {"x": PIXELS} if bytes_ else {}
    options = ExportOptions(INPUTS, exporter=BY, pixels=pixels, for_=for_)
    return trtqat.export_onnx(model, path, options)


def linears(path: Path) -> list[str]:
    operators = [node.op_type for node in onnx.load(path).graph.node]
    return [each for each in operators if each in ("Gemm", "MatMul", "ReduceMean")]


@pytest.mark.parametrize("for_", [None, "8.6"])
def test_behind_bytes_for_8_6(quantized: nn.Module, tmp_path: Path, for_: Target | None) -> None:
    plain, path = tmp_path / "plain.onnx", tmp_path / "m.onnx"
    result = exported(quantized, path, for_=for_)
    assert linears(path) == []
    assert any(note.startswith("3 layers are written as convolutions") for note in result.notes)
    assert result.warnings == ()
    exported(quantized, plain, bytes_=False)
    assert linears(plain) == ["ReduceMean", "Gemm", "Gemm"]
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    with OnnxModel(plain, as_written=True) as model, model.session(4) as session:
        (expected,) = session.run({"x": PIXELS.normalise(images)}).values()
    with OnnxModel(path, as_written=True) as model, model.session(4) as session:
        (found,) = session.run({"x": images}).values()
    # One code of the last layer's data, at most, where the sums were rounded otherwise.
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_what_was_compared_is_told_of_the_file_that_is_written(
    quantized: nn.Module, tmp_path: Path
) -> None:
    """The graph before is its source bit for bit, which the file with convolutions is not."""
    plain = tmp_path / "plain.onnx"
    exported(quantized, plain, bytes_=False)
    options = ExportOptions((), pixels={"x": PIXELS}, for_="8.6")
    result = improve_onnx(plain, tmp_path / "m.onnx", options)
    assert result.verification.sqnr_db == np.inf
    assert result.convolved is not None
    assert 100 < result.convolved.sqnr_db < np.inf
    lines = list(describe_export(result))
    end = [line for line in lines if "end to end" in line]
    assert ["all" in line for line in end] == [True, False]
    assert lines.index("as it is written:") < lines.index(end[1])
    # The file itself says both, too.
    record = read_provenance(ir.load(result.path).metadata_props[METADATA_KEY]).verification
    assert record is not None
    assert record["sqnr_db"] == np.inf
    changed = record["convolutions"]
    assert isinstance(changed, dict)
    assert changed["sqnr_db"] == pytest.approx(result.convolved.sqnr_db)
    others = improve_onnx(plain, tmp_path / "m.onnx", replace(options, for_="rtx"))
    assert others.convolved is None
    assert "as it is written:" not in list(describe_export(others))


@pytest.mark.parametrize("for_", ["10", "rtx"])
def test_others_need_none(quantized: nn.Module, tmp_path: Path, for_: Target) -> None:
    result = exported(quantized, tmp_path / "m.onnx", for_=for_)
    assert linears(tmp_path / "m.onnx") == ["ReduceMean", "Gemm", "Gemm"]
    assert not any("convolutions" in note for note in result.notes)


def test_a_file_that_takes_bytes_already(quantized: nn.Module, tmp_path: Path) -> None:
    given, path = tmp_path / "given.onnx", tmp_path / "m.onnx"
    exported(quantized, given, for_="10")
    improve_onnx(given, path, ExportOptions((), for_="8.6"))
    assert linears(path) == []


def test_a_file_of_an_opset_that_8_6_does_not_read(quantized: nn.Module, tmp_path: Path) -> None:
    given, path = tmp_path / "given.onnx", tmp_path / "m.onnx"
    trtqat.export_onnx(quantized, given, ExportOptions(INPUTS, exporter=BY, opset=19))
    result = improve_onnx(given, path, ExportOptions((), pixels={"x": PIXELS}))
    assert linears(path) == ["ReduceMean", "Gemm", "Gemm"]
    assert not any("8.6" in note for note in result.notes)


@pytest.mark.parametrize("least_db", [200, float("inf")])
def test_roundings_are_no_fault_however_close_it_is_to_be(
    quantized: nn.Module, tmp_path: Path, least_db: float
) -> None:
    """Sums in another order change last bits, which a deep network amplifies to any distance."""
    options = ExportOptions(INPUTS, exporter=BY, pixels={"x": PIXELS}, min_sqnr_db=least_db)
    trtqat.export_onnx(quantized, tmp_path / "m.onnx", options)
    assert linears(tmp_path / "m.onnx") == []


@pytest.mark.parametrize("number", [1.0, np.nan])
def test_a_graph_that_computes_something_else_is_not_written(
    quantized: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: float
) -> None:
    def wrong(model: ir.Model) -> WrittenConvolutions:
        done = write_convolutions(model)
        bias = model.graph.initializers["head.3.bias"]
        bias.const_value = ir.tensor(np.full(4, number, np.float32), name=bias.name)
        return done

    monkeypatch.setattr(room, "write_convolutions", wrong)
    with pytest.raises(ExportError, match="the graph with linear layers"):
        exported(quantized, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
