"""Pass: a Clip of the codes, between QuantizeLinear and DequantizeLinear, goes from there.

Brevitas writes one for narrow ranges and for fewer than 8 bits. TensorRT takes a pair for one
only where nothing stands inside it.

1. Of a constant weight: its codes are clipped now. Most often none is beyond the bounds.
2. Of an activation, with bounds that no code is beyond ([-128, 127], or a tensor that is never
   negative with a lower bound at or below its zero-point): the Clip goes.
3. Other bounds become a Clip of the float tensor before QuantizeLinear, at bound times scale.
   Quantization is monotonic and takes that number to the bound's code, so every code is what
   it was. That the number has this code is computed, not taken for granted.
4. Where scale or bounds are computed, or are per channel on an activation, the Clip stays, and
   lint names it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.moves import ONNX_DOMAINS, commutes, is_move
from trtqat.graph.lenses.pairs import (
    CODE_TYPES,
    QUANTIZE,
    Parameters,
    codes_of,
    constant_codes,
    limits_of,
    parameters_of,
    producer_of,
)

_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp", "Softplus"})
_KEEP_SIGN = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
# How far back from a Clip such a node is looked for.
_STEPS_BACK = 16


@dataclass(frozen=True)
class ClippedCodes:
    """What the pass did.

    Attributes:
        weights: Clips of constant codes, which went.
        idle: Clips of activations that no code is beyond, which went.
        moved: Names of those that became a Clip before QuantizeLinear.
    """

    weights: int
    idle: int
    moved: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        notes = []
        if self.weights or self.idle:
            notes.append(
                f"{self.weights + self.idle} Clips of INT8 codes went from inside the pairs: they "
                "were applied to the weights' codes, or no code is beyond their bounds."
            )
        if self.moved:
            notes.append(
                f"{len(self.moved)} Clips of codes, first '{self.moved[0]}', became Clips of the "
                "float tensor before its QuantizeLinear, which gives the same codes."
            )
        return tuple(notes)


def remove_code_clips(model: ir.Model) -> ClippedCodes:
    """Takes Clips out of Q/DQ pairs, in place."""
    graph = model.graph
    weights = idle = 0
    moved: list[str] = []
    for node in list(graph):
        if node.op_type != "Clip" or node.domain not in ONNX_DOMAINS or not node.inputs:
            continue
        source, output = node.inputs[0], node.outputs[0]
        if source is None or output.is_graph_output():
            continue
        codes = constant_codes(source)
        bounds = _bounds(node, _dtype(source))
        if bounds is None:
            continue
        if codes is not None and codes.dtype in CODE_TYPES:
            clipped = np.clip(codes, *bounds).astype(codes.dtype)
            value = add_initializer(graph, _name_of_codes(source), clipped)
            output.replace_all_uses_with(value)
            weights += 1
            continue
        quantize = producer_of(source, QUANTIZE)
        if quantize is None:
            continue
        needed = _needed(quantize, bounds)
        if needed == (None, None):
            output.replace_all_uses_with(source)
            idle += 1
        elif _move(graph, node, quantize, needed):
            moved.append(name_of(node))
    if weights or idle or moved:
        remove_unused(graph)
    return ClippedCodes(weights, idle, tuple(moved))


def _dtype(source: ir.Value) -> np.dtype[np.generic] | None:
    quantize = producer_of(source, QUANTIZE)
    if quantize is not None:
        return parameters_of(quantize).dtype
    constant = constant_array(source)
    return None if constant is None else constant.dtype


def _bounds(node: ir.Node, dtype: np.dtype[np.generic] | None) -> tuple[int, int] | None:
    """Lower and upper one; None if they are computed, or the codes are no integers of NumPy."""
    if dtype is None or dtype.kind not in "iu":
        return None
    bounds = []
    for index, limit in enumerate(limits_of(dtype), 1):
        value = node.inputs[index] if len(node.inputs) > index else None
        array = None if value is None else constant_array(value)
        if (value is not None and array is None) or (array is not None and array.size != 1):
            return None
        bounds.append(limit if array is None else int(array.reshape(())))
    # Of bounds that cross, ONNX takes the upper one.
    return min(bounds), bounds[1]


def _needed(quantize: ir.Node, bounds: tuple[int, int]) -> tuple[int | None, int | None]:
    """The bounds that a code can be beyond."""
    parameters = parameters_of(quantize)
    assert parameters.dtype is not None
    lowest, highest = limits_of(parameters.dtype)
    zero = _zero(parameters)
    if zero is not None and parameters.is_usable and _is_never_negative(quantize.inputs[0]):
        lowest = zero
    lower, upper = bounds
    return (None if lower <= lowest else lower), (None if upper >= highest else upper)


def _zero(parameters: Parameters) -> int | None:
    """The zero-point that all channels have."""
    if parameters.zero_point is None:
        return 0
    first = int(parameters.zero_point.flat[0]) if parameters.zero_point.size else 0
    return first if (parameters.zero_point == first).all() else None


def _is_never_negative(value: ir.Value | None) -> bool:
    for _ in range(_STEPS_BACK):
        node = None if value is None else value.producer()
        if node is None or node.domain not in ONNX_DOMAINS:
            return False
        if node.op_type in _NEVER_NEGATIVE:
            return True
        if not (node.op_type in _KEEP_SIGN or is_move(node) or commutes(node)):
            return False
        value = node.inputs[0]
    return False


def _move(
    graph: ir.Graph, clip: ir.Node, quantize: ir.Node, bounds: tuple[int | None, int | None]
) -> bool:
    """Clips what is quantized instead; whether that is the same."""
    parameters = parameters_of(quantize)
    scale, zero, source = parameters.scale, _zero(parameters), quantize.inputs[0]
    if scale is None or scale.ndim or zero is None or not parameters.is_usable or source is None:
        return False
    limits: list[ir.Value | None] = []
    for bound in bounds:
        if bound is None:
            limits.append(None)
            continue
        limit = np.asarray(np.float32(bound - zero) * scale, np.float32)
        codes = codes_of(limit, parameters)
        if codes is None or codes.item() != bound or not np.isfinite(limit):
            return False
        name = f"{name_of(clip)}.{'lower' if not limits else 'upper'}"
        limits.append(add_initializer(graph, name, limit))
    before = ir.Node("", "Clip", [source, *limits], name=name_of(clip))
    inner = ir.Node(
        "",
        QUANTIZE,
        [before.outputs[0], *quantize.inputs[1:]],
        dict(quantize.attributes),
        name=f"{name_of(clip)}/{QUANTIZE}",
    )
    assert parameters.dtype is not None
    codes_type = ir.DataType.from_numpy(parameters.dtype)
    for node, dtype in ((before, ir.DataType.FLOAT), (inner, codes_type)):
        node.outputs[0].name = f"{node.name}_clipped"
        node.outputs[0].dtype, node.outputs[0].shape = dtype, source.shape
    graph.insert_before(clip, [before, inner])
    clip.outputs[0].replace_all_uses_with(inner.outputs[0])
    return True


def _name_of_codes(source: ir.Value) -> str:
    quantize = producer_of(source, QUANTIZE)
    weight = None if quantize is None else quantize.inputs[0]
    return f"{source.name}" if weight is None else f"{weight.name}.codes"
