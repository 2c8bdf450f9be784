"""Pass: shapes and types that an exporter left out, found by onnx's own inference."""

from __future__ import annotations

import logging

import onnx
import onnx_ir as ir

from trtqat.errors import first_line
from trtqat.graph.passes.protocol import Changed
from trtqat.graph_file.garbage import uncollected
from trtqat.graph_file.without_weights import proto_without_weights

_LOG = logging.getLogger(__name__)


@uncollected()
def infer_shapes(model: ir.Model) -> Changed:
    """Gives values the shapes and types that their exporter left out, in place.

    What counts as changed is a shape or a type.

    Where onnx finds a contradiction the model stays as it is. ``onnx_ir``'s own pass does the same
    but looks for each initializer in the list of inputs, to which it adds them: a square of their
    number.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(
            proto_without_weights(model), check_type=True, strict_mode=True, data_prop=True
        )
    except Exception as error:
        # onnx raises what it likes: InferenceError, RuntimeError, ValueError.
        _LOG.debug("The shapes of the graph cannot be inferred: %s.", first_line(error))
        return Changed(0)
    return Changed(_merge(model.graph, inferred.graph))


def _merge(graph: ir.Graph, inferred: onnx.GraphProto) -> int:
    """Writes and counts what was inferred; graphs within nodes are in the same order in both."""
    changed = 0
    types = {info.name: info.type for info in inferred.value_info}
    types.update((info.name, info.type) for info in (*inferred.input, *inferred.output))
    outputs = (output for node in graph for output in node.outputs)
    for value in (*graph.inputs, *outputs):
        found = types.get(value.name or "")
        if found is None:
            continue
        shape = ir.serde.deserialize_type_proto_for_shape(found)
        if shape is not None and value.shape != shape:
            value.shape = shape
            changed += 1
        kind = ir.serde.deserialize_type_proto_for_type(found)
        if kind is not None and value.dtype != kind.dtype:
            value.dtype = kind.dtype
            changed += 1
    for node, proto in zip(graph, inferred.node, strict=True):
        inner = {attribute.name: attribute for attribute in proto.attribute}
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                changed += _merge(attribute.as_graph(), inner[attribute.name].g)
            elif attribute.type == ir.AttributeType.GRAPHS:
                graphs = zip(attribute.as_graphs(), inner[attribute.name].graphs, strict=True)
                for each, inferred_each in graphs:
                    changed += _merge(each, inferred_each)
    return changed
