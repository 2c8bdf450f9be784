"""What stands at the ends of a graph and is no tensor of numbers, and what is stored as none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import trtqat as package
from tests.support.graphs import Graph
from trtqat.errors import GraphError, SourceError

STRINGS = helper.make_tensor_value_info("name", TensorProto.STRING, ["N"])
SEQUENCE = helper.make_tensor_sequence_value_info("name", TensorProto.FLOAT, None)


def graph(*, quantized: bool) -> onnx.ModelProto:
    built = Graph(("N", 4, 6, 6))  # type: ignore[arg-type]
    built.conv("x", "y", (4, 4), quantized=quantized)
    return built.proto("y")


@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize(
    ("given", "operator", "problem"),
    [
        (STRINGS, "Identity", "The input 'name' holds strings"),
        (SEQUENCE, "SequenceLength", "The input 'name' is no tensor"),
    ],
)
def test_inputs_that_tensorrt_does_not_take_are_named(
    given: onnx.ValueInfoProto, operator: str, problem: str, quantized: bool, tmp_path: Path
) -> None:
    proto = graph(quantized=quantized)
    proto.graph.input.append(given)
    proto.graph.node.append(helper.make_node(operator, ["name"], ["out"]))
    proto.graph.output.append(helper.make_empty_tensor_value_info("out"))
    onnx.save(proto, str(tmp_path / "m.onnx"))
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 4, 6, 6), np.float32))
    source, output = str(tmp_path / "m.onnx"), tmp_path / "o.onnx"
    make: Callable[[], object] = partial(package.export, source, output)
    if not quantized:
        make = partial(package.quantize_source, source, output, data=f"npz:{tmp_path / 'd.npz'}")
    with pytest.raises(SourceError, match=problem):
        make()


def test_strings_that_come_out_are_named(tmp_path: Path) -> None:
    proto = graph(quantized=True)
    proto.graph.node.append(helper.make_node("Cast", ["y"], ["text"], to=TensorProto.STRING))
    text = helper.make_tensor_value_info("text", TensorProto.STRING, ["N", 4, 6, 6])
    proto.graph.output.append(text)
    onnx.save(proto, str(tmp_path / "m.onnx"))
    with pytest.raises(SourceError, match="The output 'text' holds strings"):
        package.export(tmp_path / "m.onnx", tmp_path / "o.onnx")


def test_a_sparse_initializer_is_named(tmp_path: Path) -> None:
    """TensorRT for RTX 1.7.1 refuses it, as an input that is nowhere; lint found nothing."""
    proto = graph(quantized=True)
    values = helper.make_tensor("offset", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [2])
    sparse = helper.make_sparse_tensor(values, places, [4, 1, 1])
    proto.graph.sparse_initializer.append(sparse)
    proto.graph.node.append(helper.make_node("Add", ["y", "offset"], ["sum"]))
    proto.graph.output.append(helper.make_empty_tensor_value_info("sum"))
    onnx.save(proto, str(tmp_path / "m.onnx"))
    with pytest.raises(GraphError, match="has the sparse initializer 'offset'"):
        package.lint(tmp_path / "m.onnx")


@pytest.mark.parametrize("takes_bytes", [False, True])
def test_open_sizes_are_those_of_the_data(takes_bytes: bool, tmp_path: Path) -> None:
    built = Graph(("N", 4, "H", "W"))  # type: ignore[arg-type]
    built.conv(built.pair("x", 0.05), "y", kernel=3)
    onnx.save(built.proto("y"), str(tmp_path / "m.onnx"))
    floats = np.random.default_rng(0).normal(size=(5, 4, 6, 10))
    images = (np.abs(floats) * 60).astype(np.uint8).transpose(0, 2, 3, 1)
    np.savez(tmp_path / "d.npz", x=images if takes_bytes else floats.astype(np.float32))
    pixels = {"pixels": ["x:nhwc"], "mean": (0.5,), "std": (0.5,)} if takes_bytes else {}
    output, data = tmp_path / "o.onnx", f"npz:{tmp_path / 'd.npz'}"
    package.export(str(tmp_path / "m.onnx"), output, data=data, **pixels)  # type: ignore[arg-type]
    dims = onnx.load(str(output)).graph.input[0].type.tensor_type.shape.dim
    names = ["N", "H", "W", ""] if takes_bytes else ["N", "", "H", "W"]
    assert [dim.dim_param for dim in dims] == names


def test_floats_for_an_input_of_codes(tmp_path: Path) -> None:
    built = Graph(("N", 4, 6, 6))  # type: ignore[arg-type]
    built.conv(built.pair("x", 0.05), "y", kernel=3)
    onnx.save(built.proto("y"), str(tmp_path / "m.onnx"))
    package.export(tmp_path / "m.onnx", tmp_path / "codes.onnx", quantized_input=True)
    floats = np.random.default_rng(0).normal(size=(5, 4, 6, 6))
    np.savez(tmp_path / "d.npz", x=floats.astype(np.float32))
    data = f"npz:{tmp_path / 'd.npz'}"
    again = package.export(tmp_path / "codes.onnx", tmp_path / "o.onnx", data=data)
    assert again.quantized_inputs == {"x": np.float32(0.05)}


def test_random_data_has_no_sizes(tmp_path: Path) -> None:
    built = Graph(("N", 4, "H", "W"))  # type: ignore[arg-type]
    built.conv(built.pair("x", 0.05), "y", kernel=3)
    onnx.save(built.proto("y"), str(tmp_path / "m.onnx"))
    for data in (None, "random:4"):
        with pytest.raises(SourceError, match=r"Give it: --input x:1x4x224x224"):
            package.export(str(tmp_path / "m.onnx"), tmp_path / "o.onnx", data=data)
