"""How much of a tensor belongs to one sample, where the batch is open or was folded away.

The batch is the first dimension of the graph's inputs. Where it is open, the elements of a tensor
are counted for a batch of one and for a batch of two: what doubles belongs to the samples, what
stays the same is computed once for all of them. A dimension that is no fixed number is

1. a number times the batch by its name: ``5*batch`` where 5 tokens of each sample were folded
   into the first dimension; or
2. where its name was lost, what onnx infers for a batch of that size (``sizes``).
"""

from __future__ import annotations

import math
from functools import cached_property

import onnx_ir as ir

from trtqat.graph.lenses.sizes import Dims, Sizes, infer_sizes

_ONE, _TWO = 1, 2


class Batch:
    """What a graph says of its batch.

    Args:
        graph: The graph whose inputs give the batch.
    """

    def __init__(self, graph: ir.Graph) -> None:
        inputs = [value for value in graph.inputs if value.shape and not value.is_initializer()]
        firsts = [value.shape[0] for value in inputs if value.shape]
        self._graph = graph
        self._inputs = set(inputs)
        # Some writers mean an open dimension by 0 or -1.
        self._fixed = {dim for dim in firsts if isinstance(dim, int) and dim > 0}
        self._names = {str(dim.value) for dim in firsts if not isinstance(dim, int) and dim.value}
        self._is_open = any(not isinstance(dim, int) or dim < 1 for dim in firsts)

    def elements_per_sample(self, value: ir.Value) -> int | None:
        """The elements of a tensor that one sample has; None if the shapes do not tell.

        Of a tensor that is the same for any batch: its elements for a batch of one.

        Args:
            value: A tensor that a node of the graph reads or computes, or a shape without one, with
                the open dimensions of such tensors.
        """
        one = self._elements(value, _ONE)
        if one is None or not self._is_open:
            return None if one is None else self._share(value, one)
        two = self._elements(value, _TWO)
        # Products of all samples with all belong to none of them.
        return one if two in (one, 2 * one) else None

    def _share(self, value: ir.Value, elements: int) -> int | None:
        """The elements of one sample, where the batch is fixed."""
        first = next(iter(self._by_name(value, _ONE) or ()), None)
        # A first dimension of 1 beside a larger batch: computed once for all samples.
        if first is None or first == 1:
            return elements
        sizes = {first} & self._fixed or self._fixed
        size = next(iter(sizes)) if len(sizes) == 1 else None
        return None if size is None or elements % size else elements // size

    def _elements(self, value: ir.Value, size: int) -> int | None:
        """All elements of a tensor, for a batch of that size."""
        dims = self._by_name(value, size)
        # Where the batch is fixed it is the data that an open dimension depends on.
        if self._is_open and (dims is None or None in dims):
            dims = self._inferred[size].of(value)
        known = [dim for dim in dims or () if dim is not None]
        return math.prod(known) if dims is not None and len(known) == len(dims) else None

    def _by_name(self, value: ir.Value, size: int) -> Dims | None:
        """The dimensions for a batch of that size, with None for those whose name does not tell."""
        constant = value.const_value
        shape = value.shape if constant is None else constant.shape
        if shape is None:
            return None
        dims = [self._multiple(shape[axis], size) for axis in range(len(shape))]
        if value in self._inputs and dims[0] is None:
            dims[0] = size
        return dims

    def _multiple(self, dim: int | ir.SymbolicDimProtocol, size: int) -> int | None:
        """A fixed number, or 5 times the size for ``5*batch``."""
        if isinstance(dim, int) or dim.value is None:
            return dim if isinstance(dim, int) and dim > 0 else None
        if dim.value in self._names:
            return size
        parts = [part.strip(" ()") for part in dim.value.split("*")]
        numbers = [int(part) for part in parts if part.isdecimal()]
        names = [part for part in parts if part in self._names]
        is_multiple = len(names) == 1 and len(numbers) + 1 == len(parts)
        return math.prod(numbers) * size if is_multiple else None

    @cached_property
    def _inferred(self) -> dict[int, Sizes]:
        """All sizes by that of the batch; asked for only where a name was lost."""
        return infer_sizes(self._graph, self._by_name, (_ONE, _TWO))
