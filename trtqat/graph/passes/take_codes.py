"""Pass: inputs arrive as INT8 codes, and the graph starts with DequantizeLinear.

Whoever calls the engine quantizes; a quarter of the bytes cross the bus. The codes are those that
the graph's own QuantizeLinear would have made, so nothing else changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.errors import GraphError
from trtqat.graph.editing import remove_unused
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.pairs import QUANTIZE, Parameters, consumers_of, parameters_of
from trtqat.provenance import METADATA_KEY, read_provenance
from trtqat.runtime.input_codes import input_scales
from trtqat.tensors import TensorSpec


@dataclass(frozen=True)
class TakenCodes:
    """What the pass did.

    Attributes:
        scales: Scale by input: a code is ``round(x / scale)``, ties to even, within -128 and 127.
    """

    scales: dict[str, float]

    @property
    def notes(self) -> tuple[str, ...]:
        """None: the figures say it all."""
        return ()


def take_codes(model: ir.Model) -> TakenCodes:
    """Lets every float input that is quantized before anything else reads it be INT8, in place.

    Raises:
        GraphError: There is no such input.
    """
    scales: dict[str, float] = {}
    reasons: list[str] = []
    editor = Editor(model.graph)
    for value in model.graph.inputs:
        quantizers = consumers_of(value)
        parameters = [parameters_of(node) for node in quantizers if node.op_type == QUANTIZE]
        other = next((node for node in quantizers if node.op_type != QUANTIZE), None)
        if not parameters or other is not None:
            reader = "nothing" if other is None else f"'{name_of(other)}' ({other.op_type})"
            reasons.append(f"'{value.name}' is read by {reader}")
            continue
        if any(node.graph is not model.graph for node in quantizers):
            reasons.append(f"'{value.name}' is quantized inside of a branch or loop")
            continue
        if any(node.outputs[0].is_graph_output() for node in quantizers):
            reasons.append(f"the codes of '{value.name}' are an output, too")
            continue
        if not _is_plain(parameters[0]) or not all(parameters[0].equals(p) for p in parameters):
            reasons.append(f"'{value.name}' is quantized in several ways, or not to plain INT8")
            continue
        scale = parameters[0].scale
        assert scale is not None
        for node in quantizers:
            editor.replace(node.outputs[0], value)
            editor.remove(node)
        value.type = ir.TensorType(ir.DataType.INT8)
        scales[str(value.name)] = float(scale)
    if not scales:
        raise GraphError(
            f"No input can be taken as INT8 codes: {'; '.join(reasons)}.",
            "Quantize the input of the model's first layer, alike for all that read it, or leave "
            "out --quantized-input.",
        )
    editor.finish()
    remove_unused(model.graph)
    return TakenCodes(scales)


def recorded_scales(model: ir.Model) -> dict[str, float]:
    """Scale by input of those that take codes already, as an export has recorded it."""
    codes = [value.name for value in model.graph.inputs if value.dtype is ir.DataType.INT8]
    specs = [TensorSpec(str(name), (), "int8") for name in codes]
    return input_scales(specs, read_provenance(model.metadata_props.get(METADATA_KEY, "{}")))


def _is_plain(parameters: Parameters) -> bool:
    zero_point = parameters.zero_point
    return (
        parameters.is_usable
        and parameters.axis is None
        and parameters.dtype == np.int8
        and (zero_point is None or not zero_point.any())
    )
