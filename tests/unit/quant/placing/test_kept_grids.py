"""A forward may make a grid in its first run, and keep it for the next ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from tests.support.graphs import run
from trtqat import export_onnx, load_quantized
from trtqat.errors import QuantizerError
from trtqat.exporting.options import Exporter, ExportOptions
from trtqat.quant.placing.interception import Call
from trtqat.quant.placing.placed import placed_quantizers
from trtqat.quant.quantize import Quantized, quantize
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Detector(nn.Module):
    """Joins two branches, and, where it has no grid of its input's size, the parts of that."""

    def __init__(self, *, keeps: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = (nn.Conv2d(3, 8, 3, padding=1) for _ in range(2))
        self.head = nn.Conv2d(16, 2, 1)
        self.keeps, self.grid, self.runs = keeps, torch.zeros(2, 0, 0), 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        is_kept = self.grid.shape[1:] == x.shape[2:] if self.keeps else self.runs % 3 == 0
        if not is_kept:
            rows, columns = (torch.arange(float(size)) for size in x.shape[2:])
            parts = torch.meshgrid(rows, columns, indexing="ij")
            self.grid = torch.cat([each[None] for each in parts])
        both = torch.cat([self.left(x), self.right(x)], 1)
        boxes: Tensor = self.head(both) + self.grid
        return boxes


def quantized(*, runs: int) -> Quantized:
    model = Detector().eval()
    for _ in range(runs):
        model(IMAGES)
    return quantize(model, [IMAGES, IMAGES])


@pytest.mark.parametrize("runs", [0, 1])
def test_one_that_has_run_and_one_that_has_not_are_quantized_alike(runs: int) -> None:
    result = quantized(runs=runs)
    assert [layer.kept for layer in result.layers] == ["", "", ""]
    places = [place for each in placed_quantizers(result.model) for place in each.places]
    assert Call("cat", 0) in {place.call for place in places}


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_a_loaded_one_is_exported(exporter: Exporter, tmp_path: Path) -> None:
    """Its grid is not quantized, though the first call of its first run makes it."""
    result = quantized(runs=1)
    result.save(tmp_path / "int8.pt")
    loaded = load_quantized(Detector(), tmp_path / "int8.pt").eval()
    options = ExportOptions((TensorSpec("x", (1, 3, 8, 8)),), exporter=exporter)
    export_onnx(loaded, tmp_path / "model.onnx", options)
    expected = result.model.eval()(IMAGES)
    torch.testing.assert_close(loaded(IMAGES), expected, rtol=0, atol=0)
    computed = run(ir.load(tmp_path / "model.onnx"), IMAGES.numpy())[0]
    torch.testing.assert_close(torch.from_numpy(computed), expected, rtol=1e-5, atol=1e-5)


class Traced(Detector):
    """Makes its grid anew while it is traced, as RT-DETR does, before or behind its quantized cat.

    RT-DETR's cache knows sizes by their value, and a trace gives it tensors, or none at all.
    """

    def __init__(self, *, makes_first: bool) -> None:
        super().__init__()
        self.makes_first, self.kept = makes_first, dict[torch.Size, Tensor]()

    def grid_of(self, x: Tensor) -> Tensor:
        is_traced = torch._C._get_tracing_state() or torch.compiler.is_exporting()
        if not is_traced and x.shape[2:] in self.kept:
            return self.kept[x.shape[2:]]
        rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
        made = torch.cat([rows[None], columns[None]])
        return made if is_traced else self.kept.setdefault(x.shape[2:], made)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.grid_of(x) if self.makes_first else None
        both = torch.cat([self.left(x), self.right(x)], 1)
        boxes: Tensor = self.head(both) + (self.grid_of(x) if grid is None else grid)
        return boxes


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("makes_first", [True, False])
def test_one_that_makes_its_grid_anew_in_a_trace_is_exported(
    makes_first: bool, exporter: Exporter, tmp_path: Path
) -> None:
    model = quantize(Traced(makes_first=makes_first).eval(), [IMAGES]).model
    spec = TensorSpec("x", (2, 3, 8, 8))
    options = ExportOptions((spec,), exporter=exporter, static_batch=True)
    done = export_onnx(model, tmp_path / "model.onnx", options)
    assert done.verification.sqnr_db > 100
    computed = run(ir.load(tmp_path / "model.onnx"), IMAGES[:2].numpy())[0]
    expected = model(IMAGES[:2])
    torch.testing.assert_close(torch.from_numpy(computed), expected, rtol=1e-5, atol=1e-5)


class Elsewhere(Detector):
    """Calls its quantized cat at another place while it is traced, twice."""

    def forward(self, x: Tensor) -> Tensor:
        if torch._C._get_tracing_state():
            both = torch.cat([self.left(x), self.right(x)], 1) + torch.cat([x, x], 1)[:, :1] * 0
        else:
            both = torch.cat([self.left(x), self.right(x)], 1)
        boxes: Tensor = self.head(both)
        return boxes


def test_all_calls_of_a_trace_are_told_where_none_can_be_left_out(tmp_path: Path) -> None:
    model = quantize(Elsewhere().eval(), [IMAGES]).model
    options = ExportOptions((TensorSpec("x", (2, 3, 8, 8)),), exporter="torchscript")
    with pytest.raises(QuantizerError, match="called 'cat' 2 times, but 1 times"):
        export_onnx(model, tmp_path / "model.onnx", options)


@pytest.mark.parametrize("size", [2, -1])
def test_a_loaded_one_is_compared(size: int, tmp_path: Path) -> None:
    """As eval --fake-quantized does, in a session and where its quantizers are looked at."""
    result = quantized(runs=1)
    result.save(tmp_path / "int8.pt")
    expected = result.model.eval()(IMAGES[:2]).detach().numpy()
    inputs, names = {"x": IMAGES[:2].numpy()}, ["left.int8.input"]
    for observes in (False, True):
        loaded = load_quantized(Detector(), tmp_path / "int8.pt")
        model = PyTorchModel(loaded, [TensorSpec("x", (size, 3, 8, 8))], device="cpu")
        (found,) = (
            model.observe(inputs, names)[0] if observes else model.session(2).run(inputs)
        ).values()
        np.testing.assert_array_equal(found, expected)


def test_the_way_out_where_nothing_can_run_it_before(tmp_path: Path) -> None:
    quantized(runs=1).save(tmp_path / "int8.pt")
    loaded = load_quantized(Detector(), tmp_path / "int8.pt").eval()
    with pytest.raises(QuantizerError) as raised:
        loaded(IMAGES)
    assert "has to run before it gets its quantizers" in raised.value.remedy
    warm = Detector().eval()
    warm(IMAGES)
    loaded = load_quantized(warm, tmp_path / "int8.pt").eval()
    assert loaded(IMAGES).shape == (4, 2, 8, 8)


def test_one_that_takes_two_ways_in_turn_is_refused() -> None:
    with pytest.raises(QuantizerError, match=r"called 'cat' . times, but . times when"):
        quantize(Detector(keeps=False).eval(), [IMAGES, IMAGES])
