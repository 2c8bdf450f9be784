"""What can be said of an ONNX file before TensorRT sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtqat.errors import GraphError
from trtqat.extras import require
from trtqat.graph_file.hashing import graph_sha256
from trtqat.io_names import IoNames
from trtqat.provenance import METADATA_KEY, Provenance, read_provenance

_FLOAT16 = 10  # onnx.TensorProto.FLOAT16; onnx is imported only where a file is read


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file.

    Attributes:
        path: Where it is.
        sha256: Of the file.
        nodes: Name and operator of every node, in the order of the graph.
        qdq_pairs: Number of DequantizeLinear nodes.
        has_half_scales: Whether the scales are FP16: a graph for strongly typed networks.
        provenance: What ``trtqat export`` recorded; empty for other files.
        io: Names of its inputs and outputs.
    """

    path: Path
    sha256: str
    nodes: tuple[tuple[str, str], ...]
    qdq_pairs: int
    has_half_scales: bool
    provenance: Provenance
    io: IoNames


def read_graph_file(path: Path, *, quantized: bool = True) -> GraphFile:
    """Reads an ONNX file that is to become an engine.

    Args:
        path: The file.
        quantized: Whether it must have Q/DQ.

    Raises:
        GraphError: It is missing, not ONNX, or has no Q/DQ.
        MissingError: The package onnx is not installed.
    """
    for package in ("onnx", "onnx_ir"):
        require(package, extra="cuda12", purpose="Building an engine")
    from trtqat.graph_file.names import io_names_of_proto
    from trtqat.graph_file.reading import read_proto

    model = read_proto(path)
    pairs = sum(node.op_type == "DequantizeLinear" for node in model.graph.node)
    if quantized and pairs == 0:
        raise GraphError(
            f"'{path}' has no QuantizeLinear and DequantizeLinear nodes, so nothing would run in "
            "INT8.",
            "Export the fake-quantized model with: trtqat export",
        )
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    nodes = tuple((node.name, node.op_type) for node in model.graph.node)
    half = {i.name for i in model.graph.initializer if i.data_type == _FLOAT16}
    has_half_scales = any(
        node.op_type == "DequantizeLinear" and node.input[1] in half for node in model.graph.node
    )
    return GraphFile(
        path,
        graph_sha256(path),
        nodes,
        pairs,
        has_half_scales,
        read_provenance(metadata.get(METADATA_KEY, "{}")),
        io_names_of_proto(model),
    )
