"""What can be said of an ONNX file before TensorRT sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from trtqat.errors import GraphError
from trtqat.extras import require
from trtqat.graph_file.hashing import graph_sha256
from trtqat.io_names import IoNames
from trtqat.provenance import METADATA_KEY, Provenance, read_provenance

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_FLOAT16 = 10  # onnx.TensorProto.FLOAT16; onnx is imported only where a file is read


@dataclass(frozen=True)
class SourceGraph:
    """An ONNX file.

    Attributes:
        path: Where it is.
        sha256: Of the file.
        nodes: Name and operator of every node, in the order of the graph.
        qdq_pairs: Number of ONNX's DequantizeLinear nodes, those inside of other nodes included.
        has_half_scales: Whether the scales are FP16: a graph for strongly typed networks.
        provenance: What ``trtqat export`` recorded; empty for other files.
        io: Names of its inputs and outputs.
        computed_scales: Names of the nodes with Q/DQ whose scale depends on an input.
        foreign_operators: Operators that are none of ONNX's, each once.
        weights: The files beside it that hold weights.
    """

    path: Path
    sha256: str
    nodes: tuple[tuple[str, str], ...]
    qdq_pairs: int
    has_half_scales: bool
    provenance: Provenance
    io: IoNames
    computed_scales: tuple[str, ...] = ()
    foreign_operators: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()


def read_source_graph(path: Path, *, quantized: bool = True) -> SourceGraph:
    """Reads an ONNX file that is to become an engine.

    Args:
        path: The file.
        quantized: Whether it must have Q/DQ.

    Raises:
        GraphError: It is missing, not ONNX, or has no Q/DQ of ONNX; or an output is an input.
        MissingError: The package onnx is not installed.
    """
    for package in ("onnx", "onnx_ir"):
        require(package, extra="cuda12", purpose="Building an engine")
    from trtqat.graph_file.names import io_names_of_proto
    from trtqat.graph_file.reading import external_files_of, read_proto
    from trtqat.graph_file.serialized import graphs_of

    model = read_proto(path)
    graphs = list(graphs_of(model))
    bodies = (*graphs, *model.functions)
    dequantizers = [n for body in bodies for n in body.node if n.op_type == "DequantizeLinear"]
    pairs = sum(not node.domain for node in dequantizers)
    if quantized and dequantizers and pairs == 0:
        raise GraphError(
            f"The Q/DQ of '{path}' is of the domain '{dequantizers[0].domain}', and none is ONNX's "
            "own.",
            "Where it computes the same, it is rewritten by: trtqat export "
            f"{quote(str(path))} -o standard.onnx",
        )
    if quantized and pairs == 0:
        raise GraphError(
            f"'{path}' has no QuantizeLinear and DequantizeLinear nodes, so nothing would run in "
            "INT8.",
            "Export the fake-quantized model with trtqat export, or quantize a float graph with: "
            "trtqat quantize model.onnx",
        )
    io = io_names_of_proto(model)
    _check_names(path, io)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    nodes = tuple((node.name, node.op_type) for node in model.graph.node)
    half = {i.name for graph in graphs for i in graph.initializer if i.data_type == _FLOAT16}
    has_half_scales = any(
        node.op_type == "DequantizeLinear" and node.input[1] in half
        for graph in graphs
        for node in graph.node
    )
    return SourceGraph(
        path,
        graph_sha256(path),
        nodes,
        pairs,
        has_half_scales,
        read_provenance(metadata.get(METADATA_KEY, "{}")),
        io,
        _computed_scales(model.graph),
        _foreign_operators(model),
        tuple(external_files_of(model, path.parent)),
    )


def _check_names(path: Path, io: IoNames) -> None:
    """Refuses an output that is an input: TensorRT's parser renames the input then.

    It says nothing of that, and no data, profile or baseline has the new name.
    """
    for name in io.outputs:
        if name in io.inputs:
            raise GraphError(
                f"The output '{name}' of '{path}' is an input, too, and in an engine the input "
                f"would be called '__{name}'.",
                "Leave the output out by onnx.utils.extract_model, as whoever gives the input has "
                "it; or return it through an Identity, under another name.",
            )


def _foreign_operators(model: ModelProto) -> tuple[str, ...]:
    """Operators that ONNX does not define, and no function of the model either, in any graph."""
    import onnx

    from trtqat.graph_file.serialized import graphs_of

    functions = {(each.domain, each.name) for each in model.functions}
    found: dict[str, None] = {}
    for node in (node for graph in graphs_of(model) for node in graph.node):
        is_known = onnx.defs.has(node.op_type, domain=node.domain)
        if not is_known and (node.domain, node.op_type) not in functions:
            found[node.op_type] = None
    return tuple(found)


def _computed_scales(graph: GraphProto) -> tuple[str, ...]:
    """Names of QuantizeLinear and DequantizeLinear nodes whose scale no builder can know."""
    constants = {"", *(each.name for each in graph.initializer)}
    found = []
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            if node.input[1] not in constants:
                found.append(node.name or node.output[0])
        elif constants.issuperset(node.input) and not any(a.HasField("g") for a in node.attribute):
            constants.update(node.output)
    return tuple(found)
