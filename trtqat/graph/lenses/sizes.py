"""How large the tensors of a graph are where its open dimensions have a size, as onnx infers it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import onnx
import onnx_ir as ir

from trtqat.errors import first_line
from trtqat.graph_file.garbage import uncollected
from trtqat.graph_file.without_weights import proto_without_weights

_LOG = logging.getLogger(__name__)

# One number a dimension; None where it is not known.
Dims: TypeAlias = list[int | None]


@dataclass(frozen=True)
class Sizes:
    """Of the tensors of a graph.

    Attributes:
        shapes: Dimensions by the tensor's name.
        dimensions: Sizes of the open dimensions by their own names.
    """

    shapes: dict[str, Dims]
    dimensions: dict[str, int]

    def of(self, value: ir.Value) -> Dims | None:
        """The dimensions of a tensor, or of a shape that has those of others."""
        found = self.shapes.get(value.name or "")
        if found is not None or value.shape is None:
            return found
        named = (dim if isinstance(dim, int) else dim.value for dim in value.shape)
        return [dim if isinstance(dim, int) else self.dimensions.get(dim or "") for dim in named]


@uncollected()
def infer_sizes(
    graph: ir.Graph, known: Callable[[ir.Value, int], Dims | None], sizes: Iterable[int]
) -> dict[int, Sizes]:
    """Infers them.

    Args:
        graph: With the shapes that are the same for any size of its open dimensions.
        known: What is known of a tensor for a size without inference; None of all that is not,
            which is the same for any size.
        sizes: Of what is open.
    """
    values = {value.name: value for value in _values(graph)}
    proto = proto_without_weights(ir.Model(graph, ir_version=onnx.IR_VERSION))
    infos = [(info, values[info.name]) for info in _infos(proto.graph) if info.name in values]
    found = {}
    for size in sizes:
        for info, value in infos:
            dims = known(value, size)
            if dims is not None:
                _write(info.type.tensor_type.shape, dims)
        inferred = _inferred(proto)
        shapes = {info.name: _read(info.type.tensor_type.shape) for info in _infos(inferred.graph)}
        found[size] = Sizes(shapes, _dimensions(values, shapes))
    return found


def _inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:
        # onnx raises what it likes: InferenceError, RuntimeError, ValueError.
        _LOG.debug("The sizes of the graph cannot be inferred: %s.", first_line(error))
        return proto


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Inputs and all that nodes make, those of graphs within nodes included."""
    yield from graph.inputs
    for node in graph.all_nodes():
        yield from node.outputs


def _infos(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    """What a graph says of its tensors that have a shape, with those of graphs within nodes."""
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.HasField("shape"):
            yield info
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _infos(inner)


def _write(shape: onnx.TensorShapeProto, dims: Dims) -> None:
    for proto, dim in zip(shape.dim, dims, strict=True):
        proto.Clear()
        if dim is not None:
            proto.dim_value = dim


def _read(shape: onnx.TensorShapeProto) -> Dims:
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in shape.dim]


def _dimensions(values: dict[str | None, ir.Value], shapes: dict[str, Dims]) -> dict[str, int]:
    """Sizes by the names that open dimensions have in the graph; the first one of each."""
    found: dict[str, int] = {}
    for name, value in values.items():
        for dim, size in zip(value.shape or (), shapes.get(name or "", ()), strict=False):
            if not isinstance(dim, int) and dim.value and size is not None:
                found.setdefault(dim.value, size)
    return found
