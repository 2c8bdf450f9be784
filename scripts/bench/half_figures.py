"""Figures of an FP16 graph: its nodes, codes and engine, and its values beside the FP32 graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from scripts.bench.half_workloads import Workload
from scripts.bench.rtx_layers import build_layers
from tests.support.half_graphs import weight_codes
from trtqat.errors import TrtqatError
from trtqat.exporting.verification.pieces import FP16
from trtqat.exporting.verification.reference import OF_HALF, GraphReference
from trtqat.exporting.verification.rounding import round_everywhere
from trtqat.exporting.verification.verify import verify
from trtqat.graph_file.serialized import Serialized
from trtqat.numerics import difference
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Arrays

# Batches that graphs are compared on.
SAMPLES = 8
_MULTIPLYING = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_MOVING = {"Reshape", "Transpose", "Squeeze", "Unsqueeze"}
_HALF = onnx.TensorProto.FLOAT16


class Graph:
    """An ONNX file, and what its nodes and tensors are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.proto = onnx.load(path)

    @cached_property
    def types(self) -> dict[str, int]:
        """Types of all tensors, by name."""
        inferred = onnx.shape_inference.infer_shapes(self.proto).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        types = {each.name: each.type.tensor_type.elem_type for each in values}
        return types | {each.name: each.data_type for each in inferred.initializer}

    @cached_property
    def quantized(self) -> frozenset[str]:
        """Nodes that multiply what two DequantizeLinear nodes give."""
        producers = {name: node for node in self.proto.graph.node for name in node.output}

        def is_dequantized(name: str) -> bool:
            node = producers.get(name)
            while node is not None and node.op_type in _MOVING:
                node = producers.get(node.input[0])
            return node is not None and node.op_type == "DequantizeLinear"

        return frozenset(
            node.name
            for node in self.proto.graph.node
            if node.op_type in _MULTIPLYING and all(map(is_dequantized, node.input[:2]))
        )

    @cached_property
    def half_nodes(self) -> frozenset[str]:
        """Nodes that compute in FP16."""
        # A Cast computes nothing, and a QuantizeLinear gives codes.
        return frozenset(
            node.name
            for node in self.proto.graph.node
            for name in (node.input[:1] if node.op_type == "QuantizeLinear" else node.output)
            if node.op_type != "Cast" and self.types.get(name) == _HALF
        )

    @property
    def interface(self) -> list[tuple[str, int]]:
        """Names and types of inputs and outputs."""
        values = (*self.proto.graph.input, *self.proto.graph.output)
        return [(each.name, each.type.tensor_type.elem_type) for each in values]

    def engine(self, quantized: frozenset[str]) -> dict[str, Any]:
        """Figures of the plan that TensorRT for RTX builds."""
        built = build_layers(self.path)
        if built.refused:
            return {"refused": built.refused}
        missing = sorted(quantized - built.int8_nodes)
        return {
            "build_s": built.seconds,
            "plan_bytes": built.plan_bytes,
            "int8_layers": len(quantized) - len(missing),
            "not_int8": missing[:4],
            "engine_layers": built.layers,
            "generated_kernels": built.generated,
            "reformatting_layers": built.reformats,
            "casts_in_kernels": built.casts,
            "written_bytes": built.written_bytes,
        }


def compare(before: Graph, after: Graph, workload: Workload) -> dict[str, Any]:
    """Figures of an FP16 graph, of which the FP32 one is the measure.

    Args:
        before: The FP32 graph.
        after: The FP16 graph.
        workload: What both are run with.
    """
    operators = Counter(node.op_type for node in after.proto.graph.node)
    figures = {
        "file_bytes": after.path.stat().st_size,
        "nodes": len(after.proto.graph.node),
        "half_nodes": len(after.half_nodes),
        "casts": operators["Cast"],
        "interface_kept": before.interface == after.interface,
        "nodes_lost": _lost(before.proto.graph.node, after.proto.graph.node),
        "codes_changed": _changed_codes(before, after),
        "scales_clamped": _clamped_scales(before, after),
        **after.engine(before.quantized),
    }
    full, half = before.path.read_bytes(), after.path.read_bytes()
    larger = replace(workload, size=workload.size * workload.held_out)
    batch = larger.batch(SAMPLES, seed=1)
    try:
        expected = _run(full, batch)
        figures |= _agreement("as_run", expected, _run(half, batch), workload)
        figures |= _agreement("rounded", expected, _run(round_everywhere(half), batch), workload)
    except TrtqatError as error:
        figures["not_run"] = str(error)[:300]
    try:
        reference = GraphReference(full, [larger.batch(workload.samples, seed=1)], OF_HALF)
        pieces = verify(half, reference, tolerance=FP16).pieces
        figures["verified"] = True
        figures["pieces_db"] = pieces.least_db if pieces else None
    except TrtqatError as error:
        figures["verified"] = str(error)[:300]
    return figures


def _run(graph: Serialized, batch: Arrays) -> Arrays:
    with OnnxModel(graph, as_written=True) as model:
        return model.session(SAMPLES).run(batch)


def _agreement(name: str, expected: Arrays, actual: Arrays, workload: Workload) -> dict[str, Any]:
    """The least SQNR of the outputs, and how many of the greatest scores are the same."""
    if any(expected[key].shape != actual[key].shape for key in expected):
        return {f"{name}_db": "another shape"}
    least = min(difference(expected[key], actual[key]).sqnr_db for key in expected)
    found: dict[str, Any] = {f"{name}_db": least if np.isfinite(least) else str(least)}
    if workload.classes:
        same = [np.argmax(expected[key], -1) == np.argmax(actual[key], -1) for key in expected]
        found[f"{name}_same_class"] = f"{int(same[0].sum())}/{same[0].size}"
    return found


def _lost(before: Sequence[onnx.NodeProto], after: Sequence[onnx.NodeProto]) -> int:
    """How many nodes have no namesake of the same operator."""
    kept = {(node.name, node.op_type) for node in after}
    return sum((node.name, node.op_type) not in kept for node in before)


def _changed_codes(before: Graph, after: Graph) -> int | str:
    expected, found = dict(weight_codes(before.proto)), dict(weight_codes(after.proto))
    if not set(expected) <= set(found):
        return f"not comparable: {len(set(expected) - set(found))} weights have other names"
    return sum(int((found[name] != codes).sum()) for name, codes in expected.items())


def _clamped_scales(before: Graph, after: Graph) -> int:
    """Scales that changed by more than rounding to FP16's 11 bits does, of channels in use."""
    codes = dict(weight_codes(before.proto))
    changed = 0
    expected, found = (dict(_scales(graph.proto)) for graph in (before, after))
    for name in set(expected) & set(found):
        scale, other = expected[name].astype(float), found[name].astype(float)
        far = np.abs(other / scale - 1) > 2.0**-10
        if name in codes and scale.size > 1 and codes[name].shape[0] == scale.size:
            far &= codes[name].reshape(scale.size, -1).any(1).reshape(far.shape)
        changed += int(far.sum())
    return changed


def _scales(proto: onnx.ModelProto) -> list[tuple[str, Any]]:
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    return [
        (node.output[0], arrays[node.input[1]])
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear" and node.input[1] in arrays
    ]
