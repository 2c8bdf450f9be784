"""Where quantizers stand in a float ONNX graph: the rules of ``quant/placing`` in its operators.

1. Both operands of Conv, Gemm and MatMul. A constant one has a range for each output channel.
2. Of an Add whose result is quantized: the operand that does not come from the last layer, which
   computes the sum in its kernel. Where neither comes straight from a layer, both.
3. The parts of a Concat, the input of an average pool or ReduceMean, and both operands of a Mul
   that scales channels, where the result is quantized.
4. One quantizer for a tensor, whoever reads it; for the parts of a Concat and its result; for a
   tensor and what a MaxPool or a Reshape makes of it.

What is quantized only to be read as float is not quantized.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.errors import QuantizerError
from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.arithmetic import RECURRENT, Arithmetic, is_layer
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.groups import groups_of
from trtqat.graph.lenses.layers import CONVOLUTIONS, channel_axis
from trtqat.graph.lenses.mac_formulas import macs_of_node, shape_of
from trtqat.graph.lenses.moves import ONNX_DOMAINS, commutes
from trtqat.graph.lenses.view import GraphView, passes_on
from trtqat.quant.placing import reasons
from trtqat.quant.placing.placement import SMALL, Layer, Target
from trtqat.search.float_graph.groups import Mark, PlannedPair, planned

_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean"})
_BETWEEN = _POOLS | {"Add", "Concat", "Mul"}
_OF_SHAPES = frozenset({"Shape", "Size"})
_REPEATING = frozenset({"Expand", "Tile"})
# Between a layer and its sum TensorRT folds these into the layer.
_FOLDED = frozenset({BATCH_NORM, "Add", "Div", "Dropout", "Mul", "Sub"})


@dataclass(frozen=True)
class PairPlan:
    """What to quantize in a graph.

    Attributes:
        quantizers: In the order of the graph.
        layers: All that multiplies, in the order of the graph, with why some stay float.
        not_counted: Names of the layers whose multiply-accumulates are not known.
    """

    quantizers: tuple[PlannedPair, ...]
    layers: tuple[Layer, ...]
    not_counted: tuple[str, ...]


def plan_pairs(
    view: GraphView, *, keep: Sequence[str] = (), for_: Target | None = None
) -> PairPlan:
    """Decides what is quantized.

    Args:
        view: Of a float graph: every tensor has its type, and the shape that it has for a batch of
            one, or of the size that the graph fixes.
        keep: Patterns of names of nodes, or of the modules in these names, that stay in floating
            point.
        for_: The TensorRT that it is for; None for what each of them can build.

    Raises:
        QuantizerError: A pattern matches nothing.
    """
    return _Planning(view, for_).plan(keep)


class _Planning:
    """The rules, and what they have found so far."""

    def __init__(self, view: GraphView, for_: Target | None) -> None:
        self._view = view
        self._for = for_
        self._data = data_of(view.graph)
        self._others = {each.node: each for each in view.other_arithmetic}
        self._positions = {node: number for number, node in enumerate(view.graph)}
        self._marks: dict[tuple[ir.Node, int], Mark] = {}
        self._fusing: set[ir.Node] = set()

    def plan(self, keep: Sequence[str]) -> PairPlan:
        kept = self._matched(keep)
        layers: list[Layer] = []
        unknown: list[str] = []
        for node in self._view.graph:
            if is_layer(node):
                reason = self._why_float(node)
                macs = macs_of_node(node, self._view.batch.elements_per_sample)
            elif node in self._others:
                reason = _why_other(self._others[node])
                macs = self._others[node].macs
            else:
                continue
            name = name_of(node)
            if not reason:
                # Also a layer that is kept: so keeping one changes no place of another.
                self._fusing.add(node)
                reason = reasons.AS_ASKED if name in kept else ""
            if not reason:
                self._mark_layer(node)
            if macs is None:
                unknown.append(name)
            layers.append(Layer(name, name, None, float(macs or 0), reason))
        self._mark_between(kept)
        ordered = sorted(self._marks.values(), key=lambda mark: self._positions[mark.node])
        joins = [each for each in self._view.graph if each.op_type == "Concat"]
        moves = [each for each in self._view.graph if commutes(each)]
        return PairPlan(planned(ordered, joins, moves), tuple(layers), tuple(unknown))

    def _matched(self, keep: Sequence[str]) -> set[str]:
        """Names of the nodes that the patterns match, by their own name or by a module's."""
        names = [
            name_of(node)
            for node in self._view.graph
            if is_layer(node) or node in self._others or node.op_type in _BETWEEN
        ]
        found: set[str] = set()
        for pattern in keep:
            matching = {
                name
                for name in names
                if any(fnmatch.fnmatchcase(each, pattern) for each in _with_parents(name))
            }
            if not matching:
                layers = [name_of(node) for node in self._view.graph if is_layer(node)]
                shown = ", ".join(layers[:8]) + (", …" if len(layers) > 8 else "")
                raise QuantizerError(
                    f"The pattern '{pattern}' matches no layer of the graph.",
                    f"Its layers are: {shown or 'none'}.",
                )
            found |= matching
        return found

    def _why_float(self, node: ir.Node) -> str:
        first, second = node.inputs[0], node.inputs[1]
        assert first is not None
        assert second is not None
        weights = self._view.weights
        if first in weights and second in weights:
            return reasons.ON_WEIGHTS
        if first.dtype is None or second.dtype is None:
            return "it reads what a plugin computes, which did not run"
        if not all(map(_is_float, (first, second))):
            return "its operands are not FP32"
        if node.op_type == "ConvTranspose" and self._for in reasons.NO_TRANSPOSED:
            return reasons.NO_TRANSPOSED[self._for]
        if node.op_type in CONVOLUTIONS and second not in weights:
            return reasons.COMPUTED_WEIGHT
        if min(len(shape_of(first)), len(shape_of(second))) < 2:
            return reasons.VECTOR
        groups = groups_of(node)
        return reasons.of_convolution(self._for, *groups) if groups else ""

    def _mark_layer(self, node: ir.Node) -> None:
        constant = [value in self._view.weights for value in node.inputs[:2] if value is not None]
        for index in (0, 1):
            value = node.inputs[index]
            assert value is not None
            # Of two activations neither is the weight.
            names = ("input", "weight") if any(constant) else ("left", "right")
            operand = names[int(constant[index]) if any(constant) else index]
            axis = _weight_axis(node, index, value) if constant[index] else None
            mark = Mark(node, index, value, operand, axis, is_weight=constant[index])
            self._marks[node, index] = mark

    def _mark_between(self, kept: set[str]) -> None:
        """Rules 2 and 3, from the end: what is quantized later is known by then."""
        later: set[ir.Value] = set()
        for node in reversed(self._view.graph):
            is_later = any(value in later for value in node.outputs)
            if is_later and node.domain in ONNX_DOMAINS and name_of(node) not in kept:
                for index in self._between(node):
                    value = node.inputs[index]
                    assert value is not None
                    operand = _operand(node, index)
                    self._marks[node, index] = Mark(node, index, value, operand)
            later.update(
                mark.value
                for index in range(len(node.inputs))
                if (mark := self._marks.get((node, index))) is not None
            )
            source = node.inputs[0] if node.inputs else None
            if is_later and source is not None and (passes_on(node) or is_roll(node)):
                later.add(source)

    def _between(self, node: ir.Node) -> list[int]:
        """Inputs to quantize of a node that is no layer, and whose result is quantized."""
        if is_roll(node):
            return []
        count = len(node.inputs) if node.op_type == "Concat" else 1 if node.op_type in _POOLS else 2
        values = [value for value in node.inputs[:count] if value is not None]
        if node.op_type not in _BETWEEN or len(values) < count:
            return []
        if not all(value in self._data and _is_float(value) for value in values):
            return []
        if node.op_type == "Concat" or node.op_type in _POOLS:
            return list(range(count))
        if node.op_type == "Mul":
            sizes = sorted(self._elements(value) for value in values)
            return [0, 1] if sizes[0] * SMALL <= sizes[1] else []
        layers = [self._layer_before(value) for value in values]
        straight = {at: self._positions[each] for at, each in enumerate(layers) if each is not None}
        fused = max(straight, key=straight.__getitem__, default=None)
        return [index for index in (0, 1) if index != fused]

    def _layer_before(self, value: ir.Value) -> ir.Node | None:
        """The layer that makes a tensor, seen through what TensorRT folds into it."""
        while True:
            maker = value.producer()
            if maker is None or maker in self._fusing:
                return maker
            data = [each for each in maker.inputs if each is not None and each in self._data]
            if maker.op_type not in _FOLDED or len(data) != 1:
                return None
            (value,) = data

    def _elements(self, value: ir.Value) -> int:
        elements = 1
        for dim in shape_of(value):
            elements *= dim or 1
        return elements


def data_of(graph: ir.Graph) -> set[ir.Value]:
    """The tensors that depend on what the inputs hold; others are weights, or made of shapes.

    The scale of attention's scores is a computed tensor to an exporter that asks the query for its
    size, and a number to whoever wrote the model. What repeats a weight for every sample, as
    Expand, is data: no exporter makes it a weight.

    Args:
        graph: Its nodes in order.
    """
    found = set(graph.inputs)
    computed = set(graph.inputs)
    for node in graph:
        read = list(_all_inputs(node))
        if any(value in computed for value in read):
            computed.update(node.outputs)
        is_data = node.op_type not in _OF_SHAPES and any(value in found for value in read)
        if is_data or (node.op_type in _REPEATING and node.outputs[0] in computed):
            found.update(node.outputs)
    return found


def _all_inputs(node: ir.Node) -> Iterable[ir.Value]:
    """What a node reads, in the graphs inside it as well."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        graphs = (
            [attribute.as_graph()]
            if attribute.type is ir.AttributeType.GRAPH
            else attribute.as_graphs()
            if attribute.type is ir.AttributeType.GRAPHS
            else []
        )
        for graph in graphs:
            for inner in graph.all_nodes():
                yield from (value for value in inner.inputs if value is not None)


def _why_other(found: Arithmetic) -> str:
    if found.node.op_type in RECURRENT or found.kind == "recurrent":
        return reasons.RECURS
    if found.kind == "subgraph":
        return "it stands in an If, a Loop or a Scan"
    if found.kind == "unknown":
        return f"nobody says what '{found.operator}' computes"
    return reasons.OTHER


def _weight_axis(node: ir.Node, index: int, weight: ir.Value) -> int | None:
    """The axis of a constant operand that holds output channels."""
    rank = len(shape_of(weight))
    if node.op_type in CONVOLUTIONS:
        return channel_axis(node, rank)
    if rank != 2:
        # ONNX's MatMul has no axis of output channels for a stack of weights.
        return None
    if index == 1:
        return channel_axis(node, rank)
    transposed = node.attributes.get("transA")
    return 1 if transposed is not None and transposed.as_int() else 0


def _operand(node: ir.Node, index: int) -> str:
    if node.op_type == "Concat":
        return f"input_{index}"
    return "input" if node.op_type in _POOLS else ("left", "right")[index]


def is_roll(node: ir.Node) -> bool:
    """Whether a Concat joins the parts of one tensor in another order, as ``torch.roll``."""
    makers = [None if value is None else value.producer() for value in node.inputs]
    sources = {
        maker.inputs[0] if maker is not None and maker.op_type == "Slice" else None
        for maker in makers
    }
    return node.op_type == "Concat" and len(sources) == 1 and None not in sources


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


def _with_parents(name: str) -> Iterable[str]:
    """A node's name and those of the modules in it: ``/layer1/0/Conv`` is in ``layer1.0``."""
    yield name
    parts = name.strip("/").split("/")
    for count in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:count])
        yield "/".join(parts[:count])
        yield ".".join(parts[:count])


def sized(model: ir.Model, types: Mapping[str, tuple[tuple[int, ...], ir.DataType]]) -> ir.Model:
    """A copy of a graph whose tensors have the shapes and types of a run.

    Args:
        model: Is not changed; the copy shares its weights.
        types: Of every input and every tensor that a node makes, by name.
    """
    copy = model.clone()
    made = (value for node in copy.graph for value in node.outputs)
    for value in (*copy.graph.inputs, *made):
        found = types.get(str(value.name))
        if found is not None:
            value.shape = ir.Shape(found[0])
            value.dtype = found[1]
    return copy
