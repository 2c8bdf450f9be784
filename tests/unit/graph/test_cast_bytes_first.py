"""Bytes that a model moves before it casts them are cast first, and the numbers stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto
from torch import nn

import trtqat
from tests.support.graphs import Graph, operators, run
from tests.support.lint_operators import moved_bytes
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.graph.lint import lint
from trtqat.graph.passes.cast_bytes_first import cast_bytes_first
from trtqat.graph_file.reading import read_model

SHAPE = (2, 6, 6, 4)


def numbers(made: Graph, name: str, *values: int) -> str:
    return made.constant(name, np.array(values, np.int64))


def several_moves() -> ir.Model:
    """A flip of the channels behind the Transpose, as BGR needs it."""
    made = Graph(SHAPE)
    made.node("Transpose", ["x"], "t", perm=[0, 3, 1, 2])
    limits = [numbers(made, *each) for each in (("from", -1), ("to", -9), ("axis", 1), ("by", -1))]
    made.node("Slice", ["t", *limits], "s")
    made.node("Relu", [made.node("Cast", ["s"], "f", to=TensorProto.FLOAT)], "y")
    return made.model_of_bytes("y")


def two_ways() -> ir.Model:
    """Moved and cast, and cast as they are, with a size that is asked for."""
    made = Graph(SHAPE)
    made.node("Cast", [made.node("Flatten", ["x"], "t")], "f", to=TensorProto.FLOAT)
    made.node("Reshape", ["f", made.node("Shape", ["x"], "size")], "back")
    made.node("Add", ["back", made.node("Cast", ["x"], "g", to=TensorProto.FLOAT)], "y")
    return made.model_of_bytes("y")


def two_types() -> ir.Model:
    made = Graph(SHAPE)
    made.node("Transpose", ["x"], "t", perm=[0, 3, 1, 2])
    for name, dtype in (("y", TensorProto.FLOAT), ("z", TensorProto.INT32)):
        made.node("Neg", [made.node("Cast", ["t"], f"{name}.c", to=dtype)], name)
    return made.model_of_bytes("y", "z")


def read_as_bytes() -> ir.Model:
    made = Graph(SHAPE)
    made.node("Transpose", ["x"], "y", perm=[0, 3, 1, 2])
    made.node("Relu", [made.node("Cast", ["y"], "f", to=TensorProto.FLOAT)], "z")
    return made.model_of_bytes("y", "z")


def cast_to_an_output() -> ir.Model:
    made = Graph(SHAPE)
    made.node("Transpose", ["x"], "t", perm=[0, 3, 1, 2])
    made.node("Cast", ["t"], "y", to=TensorProto.FLOAT)
    return made.model_of_bytes("y")


MENDED: dict[str, tuple[Callable[[], ir.Model], list[str]]] = {
    "transpose": (lambda: moved_bytes(cast_first=False), ["Cast", "Transpose"]),
    "several moves": (several_moves, ["Cast", "Transpose", "Slice"]),
    "two ways": (two_ways, ["Cast", "Flatten", "Shape"]),
}
KEPT: dict[str, Callable[[], ir.Model]] = {
    "cast first": lambda: moved_bytes(cast_first=True),
    "two types": two_types,
    "read as bytes": read_as_bytes,
    "cast to an output": cast_to_an_output,
}


@pytest.mark.parametrize("name", MENDED)
def test_the_same_numbers_come_out(name: str) -> None:
    make, expected = MENDED[name]
    model = make()
    x = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    before = run(model, x)
    assert cast_bytes_first(model).count == 1
    assert operators(model)[: len(expected)] == expected
    for one, other in zip(before, run(model, x), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not [each for each in lint(model) if each.rule == "bytes-not-cast-first"]


def test_without_pairs_the_command_is_one_that_takes_the_graph(tmp_path: Path) -> None:
    """trtqat export refuses it, and trtqat quantize casts first as well."""
    made = Graph(SHAPE)
    made.node("Transpose", ["x"], "t", perm=[0, 3, 1, 2])
    made.node("Cast", ["t"], "f", to=TensorProto.FLOAT)
    weight = np.ones((4, 4, 1, 1), np.float32)
    made.node("Conv", ["f", made.constant("w", weight)], "y", kernel_shape=[1, 1])
    source, mended = tmp_path / "model.onnx", tmp_path / "mended.onnx"
    ir.save(made.model_of_bytes("y"), source)
    (finding,) = (each for each in lint(ir.load(source)) if each.rule == "bytes-not-cast-first")
    assert finding.example == "trtqat quantize model.onnx --data SPEC -o mended.onnx"
    trtqat.quantize_source(source, mended, data="random:16")
    assert not [each for each in lint(ir.load(mended)) if each.rule == "bytes-not-cast-first"]


def test_a_file_that_tells_no_types(caplog: pytest.LogCaptureFixture) -> None:
    """As PyTorch's TorchScript exporter writes it; onnx_ir logs each tensor of no known type."""
    model = several_moves()
    for node in model.graph:
        if not node.outputs[0].is_graph_output():
            node.outputs[0].type = None
    assert cast_bytes_first(model).count == 1
    cast = next(iter(model.graph))
    assert cast.outputs[0].dtype is ir.DataType.FLOAT
    ir.to_proto(model)
    assert not caplog.messages


@pytest.mark.parametrize("name", KEPT)
def test_what_stays(name: str) -> None:
    model = KEPT[name]()
    before = operators(model)
    assert cast_bytes_first(model).count == 0
    assert operators(model) == before


class Camera(nn.Module):
    """Takes the bytes of images as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(images.permute(0, 3, 1, 2).float() / 255 - 0.5)
        return y


def test_a_model_that_takes_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    quantized = trtqat.quantize(Camera().eval(), [images], for_="8.6").model
    inputs = (trtqat.TensorSpec("images", (1, 16, 16, 3), "uint8"),)
    options = ExportOptions(inputs, exporter="torchscript")
    result = trtqat.export_onnx(quantized, tmp_path / "m.onnx", options)
    model = read_model(tmp_path / "m.onnx")
    assert next(iter(model.graph)).op_type == "Cast"
    assert result.warnings == ()
    # Behind bytes, and for 8.6: its weights are float.
    assert operators(model).count("QuantizeLinear") == 2


def test_a_file_of_another_tool(tmp_path: Path) -> None:
    ir.save(moved_bytes(cast_first=False), tmp_path / "given.onnx")
    improve_onnx(tmp_path / "given.onnx", tmp_path / "m.onnx", ExportOptions(()))
    assert next(iter(read_model(tmp_path / "m.onnx").graph)).op_type == "Cast"
