"""Cuts a Q/DQ graph at its INT8 activations, so that each piece runs from inputs that are given.

Two right graphs can end far apart: a sum that is rounded in another order flips one code in a
million, and a deep network amplifies it. From the same inputs no piece has far to go, so a wrong
scale, axis or order stands out by 60 dB and more, however deep the network is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE
from trtqat.tensors import Array

_FORCED = "/given"


@dataclass(frozen=True)
class Cut:
    """One pair on an activation, where a graph can be cut.

    Attributes:
        quantizer: Name of its QuantizeLinear, or of what that writes where it has none.
        source: The float tensor that it quantizes.
        codes: What its QuantizeLinear writes.
        dequantized: What its DequantizeLinear writes.
        scale: Float32, of shape ``()``.
        elem_type: ONNX element type of ``dequantized``: that of the scale.
    """

    quantizer: str
    source: str
    codes: str
    dequantized: str
    scale: float
    elem_type: int

    @property
    def given(self) -> str:
        """The input of the cut graph that stands for ``dequantized``."""
        return f"{self.dequantized}{_FORCED}"


def cuts_of(proto: onnx.ModelProto) -> dict[str, Cut]:
    """The pairs on activations, by the tensor that their DequantizeLinear writes.

    Args:
        proto: A graph with Q/DQ. Pairs with a scale per channel, or one that the graph computes,
            are left out, as are those inside of subgraphs.
    """
    graph = proto.graph
    constants = {each.name: each for each in graph.initializer}
    computed = computed_tensors(proto)
    quantizers: dict[str, onnx.NodeProto] = {}
    found: dict[str, Cut] = {}
    for node in graph.node:
        if node.op_type == QUANTIZE and node.input[0] in computed:
            quantizers[node.output[0]] = node
        elif node.op_type == DEQUANTIZE and node.input[0] in quantizers:
            quantize, scale = quantizers[node.input[0]], constants.get(node.input[1])
            array = np.empty(0) if scale is None else numpy_helper.to_array(scale)
            if scale is not None and array.size == 1:
                name = quantize.name or quantize.output[0]
                found[node.output[0]] = Cut(
                    *(name, quantize.input[0], node.input[0], node.output[0]),
                    float(array.item()),
                    scale.data_type,
                )
    return found


def with_second_cuts(
    cuts: Mapping[str, Cut], every: Mapping[str, Cut]
) -> Sequence[tuple[Cut, str]]:
    """Some cuts, and behind them the further DequantizeLinear nodes of their quantizers.

    An FP16 graph has two behind a quantizer that FP16 and FP32 nodes read. Where only one is cut,
    a code that flips before the quantizer reaches the next piece through the other.

    Args:
        cuts: By the tensor that is cut.
        every: What ``cuts_of`` found in the graph.

    Returns:
        Each with the tensor of the first one that reads the same codes: its own, if it is that.
    """
    first = {each.codes: name for name, each in cuts.items()}
    seconds = [each for name, each in every.items() if name not in cuts and each.codes in first]
    return [
        *((each, name) for name, each in cuts.items()),
        *((each, first[each.codes]) for each in seconds),
    ]


def computed_tensors(proto: onnx.ModelProto) -> set[str]:
    """The inputs of a graph, and everything that is computed from them."""
    constants = {each.name for each in proto.graph.initializer}
    computed = {each.name for each in proto.graph.input if each.name not in constants}
    for node in proto.graph.node:
        if any(name in computed for name in _reads(node)):
            computed.update(node.output)
    return computed


def cut(proto: onnx.ModelProto, cuts: Iterable[Cut]) -> onnx.ModelProto:
    """The graph with every reader of these tensors reading an input of its own instead.

    The pairs stay: what they make of the piece before them is an output of the graph, as is the
    float tensor that they quantize.

    Args:
        proto: The graph; it is not changed.
        cuts: Where; the names must be those of its tensors.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    cuts = tuple(cuts)
    given = {each.dequantized: each.given for each in cuts}
    _read_instead(made.graph, given)
    made.graph.input.extend(
        onnx.helper.make_tensor_value_info(each.given, each.elem_type, None) for each in cuts
    )
    _add_outputs(made.graph, cuts)
    return made


def tapped(proto: onnx.ModelProto, cuts: Iterable[Cut]) -> onnx.ModelProto:
    """The whole graph, with what goes into the pairs and comes out of them as further outputs.

    Args:
        proto: The graph; it is not changed.
        cuts: Which pairs.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    _add_outputs(made.graph, tuple(cuts))
    return made


def nudged_scales(proto: onnx.ModelProto, relative: float) -> onnx.ModelProto:
    """The graph with the scale of every QuantizeLinear moved a little, up and down in turn.

    Values at a rounding border then get the neighbouring code, as they do where sums are rounded
    in another order.

    Args:
        proto: The graph; it is not changed.
        relative: By how much, of the scale.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    constants = {each.name: each for each in made.graph.initializer}
    sign = 1.0
    for number, node in enumerate(made.graph.node):
        scale = constants.get(node.input[1]) if node.op_type == QUANTIZE else None
        if scale is None:
            continue
        array = numpy_helper.to_array(scale)
        moved = np.asarray(array * (1 + sign * relative), array.dtype)
        name = f"{scale.name}/nudged/{number}"
        made.graph.initializer.append(numpy_helper.from_array(moved, name))
        node.input[1] = name
        sign = -sign
    return made


def behind_other_quantizers(proto: onnx.ModelProto, cuts: Mapping[str, Cut]) -> set[str]:
    """Tensors of a cut graph that a QuantizeLinear stands before which is not cut.

    From the same inputs a code can flip there, and what is computed from it differs.

    Args:
        proto: The graph before it was cut.
        cuts: Where it is cut, by the tensor that is dequantized.
    """
    own = {each.quantizer for each in cuts.values()}

    def is_not_cut(node: onnx.NodeProto) -> bool:
        return node.op_type == QUANTIZE and (node.name or node.output[0]) not in own

    return behind(proto, cuts, is_not_cut)


def behind(
    proto: onnx.ModelProto, cuts: Mapping[str, Cut], begins: Callable[[onnx.NodeProto], bool]
) -> set[str]:
    """Tensors of a cut graph that are computed by some nodes, or from what these write.

    Args:
        proto: The graph before it was cut.
        cuts: Where it is cut, by the tensor that is dequantized.
        begins: Whether it is one of these nodes; those that no input reaches are not asked.
    """
    computed = computed_tensors(proto)
    found: set[str] = set()
    for node in proto.graph.node:
        read = [name for name in _reads(node) if name in computed]
        is_behind = any(name in found and name not in cuts for name in read)
        if is_behind or (read and begins(node)):
            found.update(node.output)
    return found


def along(cuts: Iterable[Cut], values: Mapping[str, Array]) -> dict[str, Array]:
    """Inputs of a cut graph: dequantized tensors, in the type that the graph has them in.

    Args:
        cuts: Where it is cut.
        values: Floats by the name of the tensor.
    """
    return {
        each.given: np.asarray(
            values[each.dequantized], onnx.helper.tensor_dtype_to_np_dtype(each.elem_type)
        )
        for each in cuts
    }


def _add_outputs(graph: onnx.GraphProto, cuts: tuple[Cut, ...]) -> None:
    present = {output.name for output in graph.output}
    inputs = {each.name for each in graph.input}
    for name in dict.fromkeys(n for each in cuts for n in (each.source, each.dequantized)):
        if name not in present and name not in inputs:
            graph.output.append(onnx.ValueInfoProto(name=name))


def _read_instead(graph: onnx.GraphProto, given: Mapping[str, str]) -> None:
    pending = [graph]
    while pending:
        for node in pending.pop().node:
            for index, name in enumerate(node.input):
                node.input[index] = given.get(name, name)
            pending.extend(_subgraphs(node))


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, those inside of its subgraphs included."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield from current.input
        for graph in _subgraphs(current):
            pending.extend(graph.node)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs
