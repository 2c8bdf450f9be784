"""What ``export`` does where convolutions of one tensor are refused side by side, and for whom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

import trtqat
from tests.support.float_graphs import write_float
from tests.support.graphs import Graph
from tests.support.lint_operators import two_heads
from tests.support.linting import SHAPE
from trtqat.errors import ExportError
from trtqat.exporting import siblings as room
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.graph.lint import lint
from trtqat.graph.passes.part_siblings import PartedSiblings, part_siblings
from trtqat.graph_file.reading import read_model
from trtqat.plan.header import Target
from trtqat.report.export_words import describe_export
from trtqat.runtime.onnx_model import OnnxModel


class Heads(nn.Module):
    """A backbone and three heads that read it, one of them with another kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, k, padding=k // 2), nn.ReLU(), nn.Conv2d(8, 2, 1))
            for k in (3, 3, 1)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.body(x)
        return tuple(head(x) for head in self.heads)


def clips(path: Path) -> int:
    return sum(node.op_type == "Clip" for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(
    ("opset", "for_", "count"),
    [(17, None, 1), (17, "8.6", 1), (17, "10", 1), (17, "rtx", 0), (19, None, 0), (19, "11", 0)],
)
def test_for_what_8_6_may_read(opset: int, for_: Target | None, count: int, tmp_path: Path) -> None:
    given, graph = tmp_path / "given.onnx", tmp_path / "m.onnx"
    ir.save(two_heads(opset=opset), given)
    result = improve_onnx(given, graph, ExportOptions((), opset=opset, for_=for_))
    assert len(result.parted) == clips(graph) == count
    assert any("Clip behind '/c1'" in line for line in describe_export(result)) == bool(count)
    assert "sibling-convolutions" not in {
        each.rule for each in lint(read_model(graph), for_) if for_ is None or each.concerns(for_)
    }


def test_the_file_computes_what_the_given_one_does_where_codes_saturate(tmp_path: Path) -> None:
    given, graph = tmp_path / "given.onnx", tmp_path / "m.onnx"
    ir.save(two_heads(), given)
    improve_onnx(given, graph, ExportOptions(()))
    x = {"x": np.random.default_rng(0).normal(scale=50, size=SHAPE).astype(np.float32)}
    runs = []
    for path in (given, graph):
        with OnnxModel(path, as_written=True) as model, model.session(SHAPE[0]) as session:
            runs.append(session.run(x))
    for name, expected in runs[0].items():
        np.testing.assert_array_equal(expected, runs[1][name])


def test_a_graph_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a bound cut off codes."""

    def cutting(model: ir.Model) -> PartedSiblings:
        done = part_siblings(model)
        upper = model.graph.initializers["/r1_clipped.upper"]
        upper.const_value = ir.tensor(np.array(0.3, np.float32), name=upper.name)
        return done

    monkeypatch.setattr(room, "part_siblings", cutting)
    given, graph = tmp_path / "given.onnx", tmp_path / "m.onnx"
    ir.save(two_heads(), given)
    with pytest.raises(ExportError, match=r"behind '/c1' the graph computes another 'y1'"):
        improve_onnx(given, graph, ExportOptions(()))
    assert not graph.exists()


def test_a_model_in_pytorch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = Heads().eval(), torch.randn(4, 3, 16, 16)
    quantized = trtqat.quantize(model, [images], for_="8.6").model
    options = ExportOptions((trtqat.TensorSpec("x", (1, 3, 16, 16)),))
    result = trtqat.export_onnx(quantized, tmp_path / "m.onnx", options)
    assert len(result.parted) == clips(tmp_path / "m.onnx") == 1


def test_a_float_file_that_is_quantized(tmp_path: Path) -> None:
    made = Graph((2, 4, 6, 6))
    for number in range(2):
        head = made.conv("x", f"c{number}", kernel=3, quantized=False)
        made.conv(made.node("Relu", [head], f"r{number}"), f"y{number}", quantized=False)
    write_float(made, tmp_path, "y0", "y1").quantized()
    assert clips(tmp_path / "int8.onnx") == 1
