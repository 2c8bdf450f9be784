"""What repeats a weight makes one, unless it repeats it for each sample."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.quant.quantize import Quantized, quantize
from trtqat.tensors import TensorSpec

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = "it computes on weights alone"
CHANNELS = 8


def images() -> Tensor:
    """Of as many pixels a side as samples are recorded, so that no size tells which is which."""
    return torch.randn(4, CHANNELS, 2, 2, generator=torch.Generator().manual_seed(0))


class Positions(nn.Module):
    """Adds a convolution of a table that depends on height and width alone, as XCiT does."""

    def __init__(self, *, least: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.last = nn.Conv2d(2, CHANNELS, 1), nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        samples, _, height, width = x.shape
        if samples < self.least:
            raise ValueError("too few")
        rows = torch.arange(height).float()[:, None].repeat(1, width)
        columns = torch.arange(width).float()[None].expand(height, -1)
        table = self.table(torch.stack([rows.sin(), columns.sin()])[None])
        y: Tensor = self.last(x.mul_(2) + table.repeat(samples, 1, 1, 1))
        return y


class Queries(nn.Module):
    """Reads a weight that is repeated for each sample, or for each of its rows."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.query, self.last = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, 3)
        self.tokens = nn.Parameter(torch.randn(5, CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        samples = x.shape[0]
        if self.form == "second":
            queries = self.query(self.tokens.unsqueeze(1).repeat(1, samples, 1)).transpose(0, 1)
        elif self.form == "rows":
            queries = self.query(self.tokens.expand(samples * 2, -1, -1))
            queries = queries.unflatten(0, (samples, 2)).sum(1)
        else:
            queries = self.query(self.tokens.tile(samples, 1)).unflatten(0, (samples, -1))
        y: Tensor = self.last(queries @ x)
        return y


class Standardised(nn.Conv2d):
    """Weight standardization as its authors wrote it."""

    def forward(self, x: Tensor) -> Tensor:
        std = self.weight.flatten(1).std(1).reshape(-1, 1, 1, 1)
        return functional.conv2d(x, self.weight / std.expand_as(self.weight), self.bias)


def kept(found: Quantized) -> dict[str, str]:
    return {layer.name: layer.kept for layer in found.layers}


def places(found: Quantized) -> dict[str, bool]:
    return {place: each.is_weight for each in found.ranges for place in each.places}


def test_a_table_of_height_and_width_is_a_weight() -> None:
    found = quantize(Positions(), [images()])
    assert kept(found) == {"table": WEIGHTS, "last": ""}
    assert "add.right" in places(found)
    assert quantize(Positions(), [images()], keep=["table"]).int8_share == found.int8_share


def test_where_one_sample_does_not_run_every_repeat_counts_as_one_of_the_batch() -> None:
    assert kept(quantize(Positions(least=2), [images()])) == {"table": "", "last": ""}


@pytest.mark.parametrize("form", ["second", "rows", "tiled"])
def test_what_is_repeated_for_each_sample_is_none(form: str) -> None:
    inputs = torch.randn(4, CHANNELS, CHANNELS, generator=torch.Generator().manual_seed(0))
    found = quantize(Queries(form), [inputs])
    assert kept(found) == {"query": "", "matmul": "", "last": ""}
    assert not places(found)["query.linear.input"]


def test_a_weight_that_is_standardised_has_a_range_for_each_channel() -> None:
    found = quantize(nn.Sequential(Standardised(CHANNELS, 5, 1)), [images()])
    assert places(found) == {"0.conv2d.input": False, "0.conv2d.weight": True}
    assert found.model.get_buffer("0.int8.weight.amax").numel() == 5


class Shared(nn.Module):
    """A projection of words that is one of a table of positions as well, as DeBERTa V3 has it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.key, self.last = nn.Linear(CHANNELS, CHANNELS), nn.Linear(4, 3)
        self.positions = nn.Parameter(torch.randn(4, CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        words = self.key(x.flatten(2).transpose(1, 2))
        y: Tensor = self.last(words @ self.key(self.positions).transpose(0, 1))
        return y


def test_a_layer_that_runs_on_data_and_on_weights_is_no_float_layer(tmp_path: Path) -> None:
    model = quantize(Shared().eval(), [images()])
    assert [layer.kept for layer in model.layers] == ["", "", ""]
    options = ExportOptions((TensorSpec("x", (1, CHANNELS, 2, 2)),), exporter="torchscript")
    layers = export_onnx(model.model, tmp_path / "m.onnx", options).summary.layers
    assert [layer.is_int8 for layer in layers] == [True] * 3


class Filled(nn.Module):
    """What its last layer reads is one number of the input, in every place."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, 3)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        mean = y.mean()
        filled = torch.full_like(y, mean) if self.kind == "full_like" else y.new_full(y.shape, mean)
        result: Tensor = self.last(filled)
        return result


@pytest.mark.parametrize("kind", ["full_like", "new_full"])
def test_what_is_filled_with_a_number_of_the_input_depends_on_it(kind: str) -> None:
    result = quantize(Filled(kind).eval(), [torch.randn(4, CHANNELS)])
    assert {layer.name: layer.kept for layer in result.layers} == {"first": "", "last": ""}
