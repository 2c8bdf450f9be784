"""Names of an ONNX file's inputs and outputs, in the order of the exported model."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from trtqat.graph_file.reading import read_proto
from trtqat.io_names import IoNames, names_of_graph
from trtqat.provenance import METADATA_KEY, read_provenance


def io_names_of(model: ir.Model) -> IoNames:
    """Names of a graph's inputs and outputs.

    Args:
        model: As ``read_model`` returns it.
    """
    return names_of_graph(
        [str(value.name) for value in model.graph.inputs],
        [str(value.name) for value in model.graph.outputs],
        read_provenance(model.metadata_props.get(METADATA_KEY, "{}")).io_names,
    )


def io_names_of_proto(model: onnx.ModelProto) -> IoNames:
    """The same of a file's message, in which initializers may be inputs as well: constants."""
    constants = {each.name for each in model.graph.initializer}
    recorded = {prop.key: prop.value for prop in model.metadata_props}
    return names_of_graph(
        [each.name for each in model.graph.input if each.name not in constants],
        [each.name for each in model.graph.output],
        read_provenance(recorded.get(METADATA_KEY, "{}")).io_names,
    )


def read_io_names(path: Path) -> IoNames:
    """The same of a file; weights beside it are not read.

    Raises:
        GraphError: It is missing, damaged or not ONNX.
    """
    return io_names_of_proto(read_proto(path))
