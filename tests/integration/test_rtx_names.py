"""Nodes of any name are found in what TensorRT for RTX builds, and none is taken for another."""

from __future__ import annotations

from pathlib import Path

import onnx

import trtqat as package
from tests.support.graphs import Graph
from tests.support.rtx_graphs import saved
from trtqat.plan.coverage import Coverage


def chain(*names: str, quantized: tuple[bool, ...]) -> onnx.ModelProto:
    """Convolutions behind each other, whose nodes have these names."""
    made, tensor = Graph((2, 16, 6, 6)), "x"
    outputs = [f"y{place}" for place in range(len(names))]
    for output, is_quantized in zip(outputs, quantized, strict=True):
        data = made.pair(tensor, 0.1)
        tensor = made.conv(data, output, (16, 16), kernel=3, quantized=is_quantized)
    proto = made.proto(tensor)
    called = {f"/{output}": name for output, name in zip(outputs, names, strict=True)}
    for node in proto.graph.node:
        node.name = called.get(node.name, node.name)
    return proto


def built(proto: onnx.ModelProto, folder: Path) -> Coverage:
    graph = saved(proto, folder / "m.onnx")
    found = package.build(graph, folder / "m.engine", for_="rtx", targets="sm89").coverage
    assert found is not None
    return found


def test_brackets(tmp_path: Path) -> None:
    """Cut off at its first bracket, the first one would be the second one."""
    coverage = built(chain("a[0]", "a[0", "b, (1) + c", quantized=(True, False, True)), tmp_path)
    assert [(layer.name, layer.runs_int8) for layer in coverage.layers] == [
        ("a[0]", True),
        ("a[0", False),
        ("b, (1) + c", True),
    ]
    assert len({layer.engine_layer for layer in coverage.layers}) == 3
