from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.commands import in_process
from tests.support.counted_graphs import quantized_branch
from trtqat.building.source_graph import read_source_graph
from trtqat.errors import GraphError
from trtqat.provenance import METADATA_KEY, Provenance


def write_graph(path: Path, *, quantized: bool, metadata: dict[str, str] | None = None) -> None:
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [0.5])
    zero = helper.make_tensor("zero", TensorProto.INT8, [], [0])
    pair = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], "dequantize"),
    ]
    graph = helper.make_graph(
        pair if quantized else [helper.make_node("Relu", ["x"], ["y"], "relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [scale, zero] if quantized else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))


def test_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_graph(path, quantized=True, metadata={METADATA_KEY: '{"trtqat": "0.1"}', "other": "x"})
    graph = read_source_graph(path)
    assert graph.path == path
    assert graph.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert graph.nodes == (("quantize", "QuantizeLinear"), ("dequantize", "DequantizeLinear"))
    assert graph.qdq_pairs == 1
    assert graph.provenance.to_fields() == {"trtqat": "0.1"}


def test_what_an_export_records_may_be_infinite(tmp_path: Path) -> None:
    record = '{"quantized_inputs": {"x": 0.5}, "verification": {"sqnr_db": Infinity}}'
    write_graph(tmp_path / "model.onnx", quantized=True, metadata={METADATA_KEY: record})
    provenance = read_source_graph(tmp_path / "model.onnx").provenance
    assert provenance.quantized_inputs == {"x": 0.5}
    assert provenance.verification == {"sqnr_db": float("inf")}


@pytest.mark.parametrize("metadata", [None, {METADATA_KEY: "{"}, {METADATA_KEY: "[1]"}])
def test_foreign_graphs_have_no_provenance(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    write_graph(tmp_path / "model.onnx", quantized=True, metadata=metadata)
    assert read_source_graph(tmp_path / "model.onnx").provenance == Provenance()


def test_no_qdq(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx", quantized=False)
    with pytest.raises(GraphError, match="has no QuantizeLinear and DequantizeLinear"):
        read_source_graph(tmp_path / "model.onnx")


def test_pairs_inside_of_nodes_are_pairs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    proto = quantized_branch().proto("z")
    onnx.save(proto, path)
    found = read_source_graph(path)
    assert (found.qdq_pairs, found.has_half_scales) == (4, False)
    # Those of the branch alone are FP16.
    for each in proto.graph.initializer:
        if each.name in ("layer.scale", "inner.weight.scale"):
            half = numpy_helper.to_array(each).astype(np.float16)
            each.CopyFrom(numpy_helper.from_array(half, each.name))
    onnx.save(proto, path)
    assert read_source_graph(path).has_half_scales


def test_what_has_only_pairs_of_onnx_runtime_is_to_be_exported(tmp_path: Path) -> None:
    """A builder may take them, but nothing here would count a layer behind them as quantized."""
    path = tmp_path / "model.onnx"
    write_graph(path, quantized=True)
    model = onnx.load(path)
    for node in model.graph.node:
        node.domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    with pytest.raises(GraphError, match=r"is of the domain 'com\.microsoft'") as error:
        read_source_graph(path)
    done = in_process(tmp_path, *shlex.split(error.value.remedy.partition("trtqat ")[2]))
    assert done.returncode == 0, done.stderr
    assert read_source_graph(tmp_path / "standard.onnx").qdq_pairs == 1


@pytest.mark.parametrize("content", [b"", b"garbage, not ONNX", b"ftrt" + bytes(60), b"\xff" * 99])
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(GraphError, match="is not an ONNX file"):
        read_source_graph(path)


def test_truncated(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_graph(path, quantized=True)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(GraphError, match="is not an ONNX file"):
        read_source_graph(path)


def test_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(GraphError, match="There is no ONNX file"):
            read_source_graph(path)
