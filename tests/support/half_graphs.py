"""Builds small FP32 graphs with Q/DQ, derives the FP16 graphs, and checks what was promised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from trtqat.exporting.verification.pieces import FP16
from trtqat.exporting.verification.ranges import measure_largest
from trtqat.exporting.verification.reference import OF_HALF, GraphReference
from trtqat.exporting.verification.result import Verification
from trtqat.exporting.verification.verify import verify
from trtqat.graph.half.derive import HalfReport, derive_half
from trtqat.tensors import Array

FLOAT, HALF, INT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8
_TYPES = {"float32": FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node named after its first output; names separated by spaces, ``-`` for none."""
    names = ["" if name == "-" else name for name in inputs.split()]
    name = f"/{outputs.split()[0]}"
    return helper.make_node(operator, names, outputs.split(), name=name, **attributes)


def pair(source: str, scale: str, output: str, **attributes: Any) -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear; the zero-point is the scale's name with ``_z``."""
    return [
        node("QuantizeLinear", f"{source} {scale} {scale}_z", f"{output}_q", **attributes),
        node("DequantizeLinear", f"{output}_q {scale} {scale}_z", output, **attributes),
    ]


def graph(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    inputs: Mapping[str, tuple[Any, ...]],
    outputs: Mapping[str, str],
    dtypes: Mapping[str, str] | None = None,
    opset: int = 19,
) -> ir.Model:
    """A graph; each constant whose name ends in ``scale`` gets a zero-point."""
    zeros = {
        f"{name}_z": np.zeros(array.shape, np.int8)
        for name, array in constants.items()
        if name.endswith("scale")
    }
    made = helper.make_graph(
        list(nodes),
        "graph",
        [
            helper.make_tensor_value_info(name, _TYPES[(dtypes or {}).get(name, "float32")], shape)
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, _TYPES[dtype], None)
            for name, dtype in outputs.items()
        ],
        [numpy_helper.from_array(array, name) for name, array in {**constants, **zeros}.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return ir.from_proto(helper.make_model(made, opset_imports=opsets, ir_version=9))


@dataclass(frozen=True)
class Derived:
    """An FP32 graph and the FP16 graph made from it."""

    full: bytes
    half: bytes
    report: HalfReport

    @property
    def proto(self) -> onnx.ModelProto:
        return onnx.load_from_string(self.half)

    @property
    def kept(self) -> dict[str, str]:
        """Reasons by the name of the node."""
        return {each.name: each.reason for each in self.report.kept}

    def agreement(self, *batches: Mapping[str, Array], min_sqnr_db: float = 20.0) -> Verification:
        return verify_half(self.full, self.half, batches, min_sqnr_db=min_sqnr_db)


def verify_half(
    full: bytes, half: bytes, batches: Sequence[Mapping[str, Array]], *, min_sqnr_db: float = 20.0
) -> Verification:
    """Compares a graph with the one that it was derived from, as an FP16 export does."""
    reference = GraphReference(full, batches, OF_HALF)
    return verify(half, reference, tolerance=FP16, min_sqnr_db=min_sqnr_db)


def derive(built: ir.Model, *batches: Mapping[str, Array], forced: bool = False) -> Derived:
    """Measures, derives and checks; ``forced`` pretends that every tensor stays below 1."""
    full = serialize(built)
    largest = measure_largest(full, batches)
    if forced:
        largest = dict.fromkeys(largest, 1.0)
    report = derive_half(built, largest)
    half = serialize(built)
    check_promises(full, half, report)
    return Derived(full, half, report)


def serialize(model: ir.Model) -> bytes:
    proto: onnx.ModelProto = ir.to_proto(model)
    serialized: bytes = proto.SerializeToString()
    return serialized


def check_promises(full: bytes, half: bytes, report: HalfReport) -> None:
    """Types of every tensor and initializer, no needless Cast put in, codes unchanged."""
    before, after = onnx.load_from_string(full), onnx.load_from_string(half)
    onnx.checker.check_model(after, full_check=True)
    assert _interface(before.graph) == _interface(after.graph)
    inferred = onnx.shape_inference.infer_shapes(after, check_type=True, strict_mode=True)
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    }
    arrays = {each.name: numpy_helper.to_array(each) for each in after.graph.initializer}
    types.update({each.name: each.data_type for each in after.graph.initializer})
    kept = {each.name for each in report.kept}
    given = {each.name for each in before.graph.node}
    producers = {name: each for each in after.graph.node for name in each.output}
    for each in after.graph.node:
        floats = {types.get(name, 0) for name in (*each.input, *each.output)} & {FLOAT, HALF}
        if each.name in report.half and each.op_type not in ("Resize", "LayerNormalization"):
            assert FLOAT not in floats or each.op_type == "Cast", each.name
        if each.name in kept:
            assert HALF not in floats, each.name
        if each.op_type == "QuantizeLinear":
            assert types[each.input[0]] == types[each.input[1]], each.name
        if each.op_type == "DequantizeLinear":
            assert types[each.output[0]] == types[each.input[1]], each.name
        if each.op_type == "Cast" and each.name not in given:
            above = producers.get(each.input[0])
            assert types[each.input[0]] != types[each.output[0]], each.name
            # Neither a Cast of a Cast, nor one that hides INT8 from a layer.
            hidden = ("Cast", "DequantizeLinear")
            assert above is None or above.op_type not in hidden or not floats, each.name
        if each.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = arrays[each.input[1]]
            assert np.isfinite(scale).all()
            assert (scale > 0).all()
    expected, found = dict(weight_codes(before)), dict(weight_codes(after))
    for name, codes in expected.items():
        np.testing.assert_array_equal(found[name], codes)


def weight_codes(proto: onnx.ModelProto) -> Iterator[tuple[str, Array]]:
    """INT8 weights by the DequantizeLinear that reads them: stored, or of a weight's Q."""
    arrays = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    producers = {name: each for each in proto.graph.node for name in each.output}
    for each in proto.graph.node:
        if each.op_type != "DequantizeLinear":
            continue
        if each.input[0] in arrays:
            yield each.output[0], arrays[each.input[0]]
            continue
        quantize = producers[each.input[0]]
        if quantize.op_type == "QuantizeLinear" and quantize.input[0] in arrays:
            weight, scale = (arrays[name] for name in quantize.input[:2])
            shape = [1] * weight.ndim
            if scale.ndim:
                shape[quantize.attribute[0].i] = -1
            steps = np.rint(weight / scale.reshape(shape))
            yield each.output[0], np.clip(steps, -128, 127).astype(np.int8)


def _interface(made: onnx.GraphProto) -> list[tuple[str, int]]:
    return [(each.name, each.type.tensor_type.elem_type) for each in (*made.input, *made.output)]
