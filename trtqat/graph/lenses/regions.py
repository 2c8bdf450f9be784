"""Regions: the pieces of a graph that are INT8 or float as a whole.

A graph is cut where one tensor alone carries everything on: in front of a residual block, or of a
layer in a chain. Such pieces are the single-entry single-exit regions of a graph that is laid out
in a line (Johnson, Pearson and Pingali, "The Program Structure Tree", PLDI 1994). A piece with much
of the arithmetic is cut again, without a look at the tensor that runs past most of it: the skip of
a U-Net, or a mask that all blocks read.

A Q/DQ pair belongs to the region that reads it. Regions with the same operators, sizes and wiring
are of one kind: what pays in one should pay in the other.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.lenses.basics import is_constant, name_of
from trtqat.graph.lenses.macs import macs_of
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
    """Nodes that follow each other in a graph, with at least one layer.

    Attributes:
        name: Of its first and its last layer.
        kind: The same for regions that compute the same with other weights.
        nodes: Names of its nodes in the order of the graph, Q/DQ nodes in front of their reader.
        layers: Names of its layers that are INT8 in the graph.
        share: Of the multiply-accumulates of all layers, from 0 to 1; where not all of these are
            known, of the layers.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    layers: tuple[str, ...]
    share: float


def regions_of(model: ir.Model) -> tuple[Region, ...]:
    """The regions of a graph, in its order.

    Args:
        model: Sorted, with inferred shapes; it is not changed.

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
        known = {layer.node: macs_of(layer, view.batch) for layer in view.layers}
        # Where sizes are not known, layers are counted: some would seem to cost nothing.
        self._costs = {node: 1 if None in known.values() else macs for node, macs in known.items()}
        self._int8 = {layer.node for layer in view.layers if view.is_int8(layer)}
        self._nodes = [node for node in view.graph if node.op_type not in (*PAIR, "Constant")]
        self._places = {node: place for place, node in enumerate(self._nodes)}
        self._outputs = set(view.graph.outputs)
        inputs = [value for value in view.graph.inputs if not is_constant(value)]
        made = [value for node in self._nodes for value in node.outputs]
        spans = [self._span(value) for value in (*inputs, *made)]
        self._spans = [span for span in spans if span is not None]

    def regions(self) -> tuple[Region, ...]:
        if not self._costs:
            return ()
        most = LARGEST_SHARE * self._cost(range(len(self._nodes)))
        pieces = self._cut(range(len(self._nodes)), self._spans, most, _DEEPEST)
        return tuple(map(self._region, pieces))

    def _span(self, value: ir.Value) -> _Span | None:
        """From the maker to the last reader; a pair in between is looked through."""
        maker = value.producer()
        if maker is not None and value.dtype in _NO_DATA:
            return None
        begin = -1 if maker is None else self._places[maker]
        end, waiting = begin, [value]
        while waiting:
            found = waiting.pop()
            if found in self._outputs:
                end = len(self._nodes)
            for use in found.uses():
                if use.node.op_type in PAIR:
                    waiting.extend(use.node.outputs if use.idx == 0 else ())
                else:
                    end = max(end, self._places.get(use.node, begin))
        return _Span(begin, end) if end > begin else None

    def _cut(
        self, piece: range, spans: Sequence[_Span], most: float, deepest: int
    ) -> Iterator[range]:
        """Cuts a piece, and again those of its parts that are too large."""
        inside = [each for each in spans if each.begin < piece.stop - 1 and each.end > piece.start]
        parts = self._joined(_parts(piece, inside))
        if len(parts) > 1:
            for part in parts:
                yield from self._cut(part, inside, most, deepest - 1)
        elif self._cost(piece) <= most or deepest <= 0 or not inside:
            yield piece
        else:
            longest = max(inside, key=lambda each: _overlap(each, piece))
            if 2 * _overlap(longest, piece) < len(piece):
                yield piece
            else:
                others = [each for each in inside if each is not longest]
                yield from self._cut(piece, others, most, deepest - 1)

    def _joined(self, parts: Sequence[range]) -> list[range]:
        """Joins parts without a layer to a neighbour.

        What reads codes without being a layer, as a pool, goes with what is behind it, and so does
        what is in front of the first layer; all else goes with the layer that TensorRT fuses it to.
        """
        joined: list[range] = []
        waiting: int | None = None
        for part in parts:
            start = part.start if waiting is None else waiting
            if any(self._nodes[place] in self._costs for place in part):
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
        return sum(self._costs.get(self._nodes[place]) or 0 for place in piece)

    def _reads_codes(self, part: range) -> bool:
        return any(map(is_dequantized, self._nodes[part.start].inputs))

    def _region(self, piece: range) -> Region:
        line = [self._nodes[place] for place in piece]
        layers = [node for node in line if node in self._costs]
        first, last = name_of(layers[0]), name_of(layers[-1])
        nodes: dict[str, None] = {}
        for node in line:
            nodes.update(dict.fromkeys(map(name_of, _pairs_in_front_of(node))))
            nodes[name_of(node)] = None
        return Region(
            name=first if first == last else f"{first} … {last}",
            kind=_kind(line),
            nodes=tuple(nodes),
            layers=tuple(name_of(node) for node in layers if node in self._int8),
            share=self._cost(piece) / self._cost(range(len(self._nodes))),
        )


def _parts(piece: range, spans: Sequence[_Span]) -> list[range]:
    """The piece, cut in front of each place where one tensor alone is alive."""
    # One more place, where what is alive to the end of the piece is counted down.
    change = [0] * (len(piece) + 1)
    for span in spans:
        first, last = max(span.begin + 1, piece.start), min(span.end, piece.stop - 1)
        change[first - piece.start] += 1
        change[last + 1 - piece.start] -= 1
    starts, alive = [piece.start], 0
    for offset in range(len(piece)):
        alive += change[offset]
        if offset and alive == 1:
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
