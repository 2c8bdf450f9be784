"""Regions: the pieces of a graph that are INT8 or float as a whole.

A graph is cut where one tensor alone carries everything on: in front of a residual block, or of a
layer in a chain. Such pieces are the single-entry single-exit regions of a graph that is laid out
in a line (Johnson, Pearson and Pingali, "The Program Structure Tree", PLDI 1994). A piece with much
of the arithmetic is cut again, without a look at the tensor that runs past most of it: the skip of
a U-Net, or a mask that all blocks read.

A Q/DQ pair belongs to the region that reads it; what reads codes and is no layer (a pool, a sum) is
a region of its own where it can be cut out. What is computed of constants alone, as a weight's
Transpose, goes with its first reader, wherever it stands. Regions with the same operators, sizes
and wiring are of one kind: what pays in one should pay in the other.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.lenses.basics import is_constant, name_of, nodes_inside
from trtqat.graph.lenses.macs import macs_of
from trtqat.graph.lenses.moves import moves_values
from trtqat.graph.lenses.pairs import DEQUANTIZE, PAIR, is_dequantized, producer_of, quantizer_of
from trtqat.graph.lenses.view import GraphView

# A region with more of the arithmetic is cut again, if it can be.
LARGEST_SHARE = 0.125
# What a piece may be nested: a chain of skips, each inside the one before, is no more than that.
_DEEPEST = 16
# Sizes, indices and flags: they say how to compute, and are computed on the host.
_NO_DATA = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


@dataclass(frozen=True, eq=False)
class Region:
    """Nodes that follow each other in a graph.

    Attributes:
        name: Of its first and its last layer, or node if it has no layer.
        kind: The same for regions that compute the same with other weights.
        nodes: Names of its nodes in the order of the graph, Q/DQ nodes in front of their reader.
        layers: Names of its layers that are INT8 in the graph.
        share: Of the multiply-accumulates of all layers, from 0 to 1; where not all of these are
            known, of the layers.
        is_quantized: Whether ``keep_float`` changes it: it has a pair, other than that of an input
            that arrives as codes.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    layers: tuple[str, ...]
    share: float
    is_quantized: bool


def regions_of(model: ir.Model) -> tuple[Region, ...]:
    """The regions of a graph, in its order.

    Args:
        model: Sorted, with inferred shapes, its nodes with names of their own; it is not changed.

    Returns:
        Every node that computes is in one of them. Empty where there is no layer.
    """
    return _Line(GraphView(model.graph)).regions()


@dataclass(frozen=True)
class _Span:
    """A tensor is alive in front of the places ``begin + 1`` to ``end`` of the line."""

    begin: int
    end: int


class _Line:
    """The nodes that compute, one behind the other, and the tensors between them."""

    def __init__(self, view: GraphView) -> None:
        self._view = view
        known = {layer.node: macs_of(layer, view.batch) for layer in view.layers}
        # Where sizes are not known, layers are counted: some would seem to cost nothing.
        are_known = None not in known.values() and any(known.values())
        self._costs = {node: (macs or 0) if are_known else 1 for node, macs in known.items()}
        self._int8 = {layer.node for layer in view.layers if view.is_int8(layer)}
        self._inputs = set(view.graph.inputs)
        computing = [node for node in view.graph if node.op_type not in (*PAIR, "Constant")]
        self._outer = {inner: node for node in computing for inner in nodes_inside(node)}
        made_of_constants = _made_of_constants(view.graph)
        self._nodes = [node for node in computing if node not in made_of_constants]
        self._places = {node: place for place, node in enumerate(self._nodes)}
        self._beside = self._readers_of(made_of_constants)
        self._sums = [0, *itertools.accumulate(self._costs.get(node, 0) for node in self._nodes)]
        inputs = [value for value in view.graph.inputs if not is_constant(value)]
        made = [value for node in self._nodes for value in node.outputs]
        spans = [self._span(value) for value in (*inputs, *made)]
        self._spans = [span for span in spans if span is not None]

    def regions(self) -> tuple[Region, ...]:
        if not self._costs:
            return ()
        everything = range(len(self._nodes))
        most = LARGEST_SHARE * self._cost(everything)
        pieces = self._cut(everything, self._spans, most, _DEEPEST)
        return tuple(map(self._region, pieces))

    def _readers_of(self, made_of_constants: Collection[ir.Node]) -> dict[int, list[ir.Node]]:
        """What is made of constants, by the place of its first reader on the line."""
        first: dict[ir.Node, int] = {}
        beside: dict[int, list[ir.Node]] = defaultdict(list)
        # Readers come later, so they are known before what they read.
        for node in reversed(list(made_of_constants)):
            readers = [use.node for value in node.outputs for use in value.uses()]
            places = [self._place(reader, first) for reader in readers]
            first[node] = min(places, default=len(self._nodes) - 1)
            if node.op_type not in PAIR:
                beside[min(first[node], len(self._nodes) - 1)].append(node)
        return {place: nodes[::-1] for place, nodes in beside.items()}

    def _place(self, node: ir.Node, first: Mapping[ir.Node, int]) -> int:
        """Where a node stands on the line, or what is made of constants is first read."""
        outer = self._outer.get(node, node)
        return self._places.get(outer, first.get(outer, len(self._nodes)))

    def _span(self, value: ir.Value) -> _Span | None:
        """From the maker to the last reader; a pair in between is looked through.

        An output of the graph leaves the line; nothing carries it on.
        """
        maker = value.producer()
        if maker is not None and value.dtype in _NO_DATA:
            return None
        begin = -1 if maker is None else self._places[maker]
        end, waiting = begin, [value]
        while waiting:
            for use in waiting.pop().uses():
                if use.node.op_type in PAIR:
                    waiting.extend(use.node.outputs if use.idx == 0 else ())
                else:
                    reader = self._outer.get(use.node, use.node)
                    end = max(end, self._places.get(reader, begin))
        return _Span(begin, end) if end > begin else None

    def _cut(
        self, piece: range, spans: Sequence[_Span], most: float, deepest: int
    ) -> Iterator[range]:
        """Cuts a piece, and again those of its parts that are too large.

        Args:
            piece: Places on the line.
            spans: Those that reach into it.
            most: The cost of a piece that is small enough.
            deepest: How often it may be cut again.
        """
        parts = self._joined(_parts(piece, spans))
        if len(parts) > 1:
            for part, inside in zip(parts, _inside(parts, spans), strict=True):
                yield from self._cut(part, inside, most, deepest - 1)
        elif self._cost(piece) <= most or deepest <= 0 or not spans:
            yield piece
        else:
            longest = max(spans, key=lambda each: _overlap(each, piece))
            if 2 * _overlap(longest, piece) < len(piece):
                yield piece
            else:
                others = [each for each in spans if each is not longest]
                yield from self._cut(piece, others, most, deepest - 1)

    def _joined(self, parts: Sequence[range]) -> list[range]:
        """Joins parts without a layer to a neighbour, but for those that compute on codes.

        What only moves codes goes with what is behind it, and so does what is in front of the first
        layer; all else goes with the layer that TensorRT fuses it to.
        """
        joined: list[range] = []
        waiting: int | None = None
        for part in parts:
            start = part.start if waiting is None else waiting
            if self._stands_alone(part):
                joined.append(range(start, part.stop))
                waiting = None
            elif joined and waiting is None and not self._reads_codes(part):
                joined[-1] = range(joined[-1].start, part.stop)
            else:
                waiting = start
        if waiting is not None:
            first = joined.pop().start if joined else waiting
            joined.append(range(first, parts[-1].stop))
        return joined

    def _cost(self, piece: range) -> int:
        return self._sums[piece.stop] - self._sums[piece.start]

    def _stands_alone(self, part: range) -> bool:
        nodes = [self._nodes[place] for place in part]
        return any(
            node in self._costs
            or (not moves_values(node) and any(map(is_dequantized, node.inputs)))
            for node in nodes
        )

    def _reads_codes(self, part: range) -> bool:
        return any(map(is_dequantized, self._nodes[part.start].inputs))

    def _region(self, piece: range) -> Region:
        line = [
            node for place in piece for node in (*self._beside.get(place, ()), self._nodes[place])
        ]
        layers = [node for node in line if node in self._costs]
        named = layers or [self._nodes[place] for place in piece]
        first, last = name_of(named[0]), name_of(named[-1])
        nodes: dict[str, None] = {}
        for node in line:
            nodes.update(dict.fromkeys(map(name_of, _pairs_in_front_of(node))))
            nodes[name_of(node)] = None
        return Region(
            name=first if first == last else f"{first} … {last}",
            kind=_kind(line),
            nodes=tuple(nodes),
            layers=tuple(name_of(node) for node in layers if node in self._int8),
            share=self._cost(piece) / self._sums[-1],
            is_quantized=any(map(self._reads_pair, line)),
        )

    def _reads_pair(self, node: ir.Node) -> bool:
        """Whether a node reads a pair, maybe through nodes that move values."""
        values = node.inputs[:1] if moves_values(node) else node.inputs
        pairs = [self._view.dequantize_before(value) for value in values]
        return any(pair is not None and pair.inputs[0] not in self._inputs for pair in pairs)


def _made_of_constants(graph: ir.Graph) -> dict[ir.Node, None]:
    """The nodes that read constants alone, pairs among them, in the order of the graph."""
    found: dict[ir.Node, None] = {}
    for node in graph:
        is_found = (
            node.op_type != "Constant"
            and any(value is not None for value in node.inputs)
            and not any(value.is_graph_output() for value in node.outputs)
            and next(nodes_inside(node), None) is None
            and all(
                value is None or is_constant(value) or value.producer() in found
                for value in node.inputs
            )
        )
        if is_found:
            found[node] = None
    return found


def _inside(parts: Sequence[range], spans: Sequence[_Span]) -> list[list[_Span]]:
    """The spans that reach into each of some parts that follow each other."""
    starts = [part.start for part in parts]
    found: list[list[_Span]] = [[] for _ in parts]
    for span in spans:
        first = max(bisect_right(starts, span.begin + 1) - 1, 0)
        # What a part only begins with is no reason not to cut it.
        last = bisect_left(starts, span.end) - 1
        for place in range(first, last + 1):
            found[place].append(span)
    return found


def _parts(piece: range, spans: Sequence[_Span]) -> list[range]:
    """The piece, cut in front of each place where no more than one tensor is alive."""
    # One more place, where what is alive to the end of the piece is counted down.
    change = [0] * (len(piece) + 1)
    for span in spans:
        first, last = max(span.begin + 1, piece.start), min(span.end, piece.stop - 1)
        change[first - piece.start] += 1
        change[last + 1 - piece.start] -= 1
    starts, alive = [piece.start], 0
    for offset in range(len(piece)):
        alive += change[offset]
        if offset and alive <= 1:
            starts.append(piece.start + offset)
    return [range(*ends) for ends in itertools.pairwise([*starts, piece.stop])]


def _overlap(span: _Span, piece: range) -> int:
    return min(span.end, piece.stop - 1) - max(span.begin, piece.start - 1)


def _pairs_in_front_of(node: ir.Node) -> Iterator[ir.Node]:
    """The Q/DQ nodes that its inputs come from."""
    for value in node.inputs:
        dequantize = producer_of(value, DEQUANTIZE)
        if dequantize is not None:
            quantize = quantizer_of(dequantize)
            yield from (dequantize,) if quantize is None else (quantize, dequantize)


def _kind(line: Sequence[ir.Node]) -> str:
    """A digest of operators, attributes, sizes, pairs and wiring."""
    digest = hashlib.sha256()
    known: dict[ir.Value, str] = {}
    for place, node in enumerate(line):
        words = [node.domain, node.op_type, *sorted(map(str, node.attributes.values()))]
        for value in node.inputs:
            words.append(_described(value, known))
        digest.update(repr(words).encode())
        for index, value in enumerate(node.outputs):
            known[value] = f"{place}.{index}"
    return digest.hexdigest()[:16]


def _described(value: ir.Value | None, known: dict[ir.Value, str]) -> str:
    """What is the same for an input of two nodes of one kind."""
    is_quantized = is_dequantized(value)
    while value is not None and (pair := value.producer()) is not None and pair.op_type in PAIR:
        value = pair.inputs[0]
    if value is None:
        return "none"
    constant = ir.convenience.get_const_tensor(value)
    if constant is not None:
        # Of a shape or an axis the numbers count, of weights their sizes.
        numbers = constant.numpy().tolist() if constant.dtype in _NO_DATA else ""
        return f"{constant.shape} {numbers}"
    # What a size is called, if it has no number, is another name in each region.
    sizes = [dim if isinstance(dim, int) else "?" for dim in value.shape or ()]
    name = known.setdefault(value, f"input {len(known)} {sizes}")
    return f"{name} {is_quantized}"
