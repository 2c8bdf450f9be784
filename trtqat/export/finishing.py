"""The last steps of every export: lint, record where the graph comes from, write the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

import trtqat
from trtqat.errors import ExportError
from trtqat.export.options import Verification
from trtqat.files import write_atomically
from trtqat.graph import METADATA_KEY
from trtqat.graph.lint import lint
from trtqat.graph.lint.finding import Finding
from trtqat.graph.macs import GraphSummary, summarize

# Protocol buffers end at 2 GiB; larger graphs would need external data files.
_MAX_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Finished:
    """A graph that was written.

    Attributes:
        summary: What it consists of.
        findings: What lint found.
        size_bytes: Size of the file.
    """

    summary: GraphSummary
    findings: tuple[Finding, ...]
    size_bytes: int


def finish(
    model: ir.Model, output: Path, verification: Verification, provenance: Mapping[str, Any]
) -> Finished:
    """Looks at a verified graph once more and writes it.

    Args:
        model: The finished graph; its metadata is replaced.
        output: The file.
        verification: Recorded in the file.
        provenance: Likewise; the manifest of an engine takes it from there.

    Raises:
        ExportError: The graph is larger than an ONNX file can be.
        UsageError: The file cannot be written.
    """
    findings = lint(model)
    summary = summarize(model)
    record = {
        "version": trtqat.__version__,
        **provenance,
        "qdq_pairs": summary.pairs,
        "int8_share": summary.int8_share,
        "verification": asdict(verification),
    }
    model.metadata_props[METADATA_KEY] = json.dumps(record, sort_keys=True)
    serialized = serialize(model)
    write_atomically(output, serialized)
    return Finished(summary, findings, len(serialized))


def serialize(model: ir.Model) -> bytes:
    """The bytes of an ONNX file.

    Raises:
        ExportError: There are more than 2 GiB of them.
    """
    proto: onnx.ModelProto = ir.to_proto(model)
    size = proto.ByteSize()
    if size > _MAX_BYTES:
        raise ExportError(
            f"The graph has {size / 2**30:.1f} GiB; an ONNX file ends at 2 GiB.",
            "External data is not written yet; split the model.",
        )
    serialized: bytes = proto.SerializeToString()
    return serialized
