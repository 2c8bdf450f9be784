"""How much of a tensor belongs to one sample, where the batch is open or was folded away.

The batch is the first dimension of the graph's inputs. A tensor's dimensions are fixed numbers
or a number times the batch, which the exporters say in two ways:

1. As an expression: ``5*batch`` where 5 tokens of each sample were folded into the first
   dimension.
2. As a dimension of another name, because the inference of shapes lost it. It is found from a
   tensor that has the same dimension, or that such a one was computed from: most operators keep
   the first dimension, and a Reshape keeps the number of elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property

import onnx_ir as ir

from trtqat.graph.editing import constant_array
from trtqat.graph.lenses.weights import Weights

# They keep the number of elements.
_SAME_ELEMENTS = {"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
# They give the first dimension of their first input on.
_SAME_FIRST = {
    "AveragePool", "BatchNormalization", "Cast", "Clip", "Conv", "ConvTranspose",
    "DequantizeLinear", "Dropout", "Elu", "Erf", "Gelu", "Gemm", "GlobalAveragePool",
    "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "MatMul", "MaxPool",
    "Neg", "QuantizeLinear", "Relu", "Sigmoid", "Softmax", "Sqrt", "Tanh",
}  # fmt: skip
# They give on that of every input that is not broadcast.
_BROADCAST = {"Add", "Div", "Mul", "PRelu", "Pow", "Sub"}
# They do, unless their axis is the first.
_ALONG_AXIS = {"Concat", "Gather"}
_REDUCTIONS = {"ReduceMax", "ReduceMean", "ReduceSum"}


class Batch:
    """What a graph says of its batch; every tensor is looked at once, for all questions together.

    Args:
        graph: The graph whose inputs give the batch.
        weights: Those of the graph.
    """

    def __init__(self, graph: ir.Graph, weights: Weights) -> None:
        inputs = [value for value in graph.inputs if value.shape and not value.is_initializer()]
        firsts = [value.shape[0] for value in inputs if value.shape]
        self._graph = graph
        self._weights = weights
        self._inputs = set(inputs)
        # Some writers mean an open dimension by 0 or -1.
        self._sizes = {dim for dim in firsts if isinstance(dim, int) and dim > 0}
        self._names = {str(dim.value) for dim in firsts if not isinstance(dim, int) and dim.value}
        self._is_open = any(not isinstance(dim, int) or dim < 1 for dim in firsts)

    def elements_per_sample(self, value: ir.Value) -> int | None:
        """The elements of a tensor that one sample has; None if the shapes do not tell.

        Of a tensor that is the same for any batch: its elements for a batch of one.

        Args:
            value: A tensor that a node of the graph reads or computes, or a shape without one, with
                the open dimensions of such tensors.
        """
        counts = self._counts(value)
        if counts is not None:
            share = self._share(counts)
        else:
            rest = _rest(value)
            # Where the batch is fixed it is the data that an open dimension depends on.
            first = self._first(value) if self._is_open and rest is not None else None
            share = None if first is None or rest is None else first * math.prod(rest)
        return None if share is None or share.denominator != 1 else int(share)

    def _first(self, value: ir.Value) -> Fraction | None:
        """The first dimension for a batch of one, from any tensor that it depends on."""
        found = self._firsts.get(value)
        return self._named_firsts.get(_first_dim(value)) if found is None else found

    @cached_property
    def _named_firsts(self) -> dict[object, Fraction]:
        """First dimensions by their name."""
        named = {_first_dim(value): first for value, first in reversed(self._firsts.items())}
        return {name: first for name, first in named.items() if isinstance(name, str)}

    @cached_property
    def _firsts(self) -> dict[ir.Value, Fraction]:
        """First dimensions for a batch of one, from any tensor that a tensor depends on.

        They spread from the tensors whose dimensions are known, over those that are computed from
        them and over those with an open dimension of the same name.
        """
        # Those of graphs within nodes as well, which depend on tensors of this one.
        values = [value for node in self._graph.all_nodes() for value in node.outputs]
        namesakes: dict[object, list[ir.Value]] = {}
        behind: dict[ir.Value, list[tuple[ir.Value, Fraction]]] = {}
        found: dict[ir.Value, Fraction] = {}
        for value in values:
            dim = _first_dim(value)
            if isinstance(dim, str):
                namesakes.setdefault(dim, []).append(value)
            for source, step in self._sources(value):
                behind.setdefault(source, []).append((value, step))
        for value in (*self._inputs, *values, *behind):
            counts = self._counts(value)
            if counts:
                found[value] = Fraction(counts[0])
        queue = list(found)
        for value in queue:
            equal = namesakes.pop(_first_dim(value), ())
            for each, step in [*behind.get(value, ()), *((name, Fraction(1)) for name in equal)]:
                if each not in found:
                    found[each] = found[value] * step
                    queue.append(each)
        return found

    def _sources(self, value: ir.Value) -> Iterator[tuple[ir.Value, Fraction]]:
        """Inputs of a tensor's node, with its first dimension for each one of theirs."""
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx") or not node.inputs:
            return
        first = node.inputs[0]
        if node.op_type in _SAME_ELEMENTS and first is not None:
            rest, counts = _rest(value), self._counts(first)
            permutation = node.attributes.get("perm")
            if permutation is not None and permutation.as_ints()[0] == 0:
                yield first, Fraction(1)
            elif counts and rest and math.prod(rest):
                # Its elements, wherever the batch is in them, less what stands behind.
                yield first, Fraction(math.prod(counts), math.prod(rest) * counts[0])
            elif rest and math.prod(rest) and (before := _rest(first)) is not None:
                yield first, Fraction(math.prod(before), math.prod(rest))
            return
        transposed = node.attributes.get("transA")
        if node.op_type in _SAME_FIRST and not (transposed and transposed.as_int()):
            operands = [first]
        elif node.op_type in _BROADCAST or (node.op_type in _ALONG_AXIS and _axis(node) > 0):
            operands = list(node.inputs if node.op_type != "Gather" else node.inputs[:1])
        elif node.op_type in _REDUCTIONS and _reduces_others(node):
            operands = [first]
        else:
            return
        for operand in operands:
            if operand is None or operand in self._weights or isinstance(_first_dim(operand), int):
                continue
            same_rank = value.shape and operand.shape and len(value.shape) == len(operand.shape)
            if same_rank or node.op_type not in (*_SAME_FIRST, *_BROADCAST):
                yield operand, Fraction(1)

    def _counts(self, value: ir.Value) -> list[int] | None:
        """The dimensions with 1 for the batch; None if one is not known."""
        constant = value.const_value
        shape = value.shape if constant is None else constant.shape
        if shape is None:
            return None
        found, folded = [], 0
        for axis, dim in enumerate(shape):
            if isinstance(dim, int) and dim > 0:
                found.append(dim)
                continue
            name = None if isinstance(dim, int) else dim.value
            count = 1 if axis == 0 and value in self._inputs else self._multiple(name)
            if count is None:
                return None
            folded += 1
            found.append(count)
        # Products of all samples with all belong to none of them.
        return found if folded <= 1 else None

    def _share(self, counts: list[int]) -> Fraction | None:
        """The elements of one sample in a tensor of known dimensions."""
        whole = Fraction(math.prod(counts))
        # A first dimension of 1 beside a larger batch: computed once for all samples.
        if self._is_open or not counts or counts[0] == 1:
            return whole
        if counts[0] in self._sizes:
            return whole / counts[0]
        return whole / next(iter(self._sizes)) if len(self._sizes) == 1 else None

    def _multiple(self, name: str | None) -> int | None:
        """5 for ``5*batch``."""
        if name is None or name in self._names:
            return None if name is None else 1
        count, names = 1, 0
        for part in name.split("*"):
            text = part.strip(" ()")
            if text.isdecimal():
                count *= int(text)
            elif text in self._names:
                names += 1
            else:
                return None
        return count if names == 1 else None


def _first_dim(value: ir.Value) -> int | str | None:
    dim = value.shape[0] if value.shape else None
    return dim if dim is None or isinstance(dim, int) else dim.value


def _axis(node: ir.Node) -> int:
    """Its axis; a negative one may be the first, so it counts as that."""
    attribute = node.attributes.get("axis")
    return 0 if attribute is None else attribute.as_int()


def _reduces_others(node: ir.Node) -> bool:
    """Whether a reduction is known to leave the first dimension alone."""
    if "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    else:
        array = constant_array(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
        axes = [] if array is None else [int(axis) for axis in array.flatten()]
    source = node.inputs[0]
    rank = len(source.shape) if source is not None and source.shape is not None else 0
    return bool(axes) and rank > 0 and all(axis % rank for axis in axes)


def _rest(value: ir.Value) -> list[int] | None:
    """The dimensions behind the first; None if one of them is not fixed."""
    if value.shape is None or len(value.shape) == 0:
        return None
    found = [dim for dim in value.shape[1:] if isinstance(dim, int)]
    return found if len(found) == len(value.shape) - 1 else None
