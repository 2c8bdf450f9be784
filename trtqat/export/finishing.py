"""The last steps of every export: lint, record where the graph comes from, write the file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

import trtqat
from trtqat.errors import ExportError
from trtqat.export.options import ExportResult, HalfResult, Verification
from trtqat.files import write_atomically
from trtqat.graph import METADATA_KEY, QUANTIZED_INPUTS
from trtqat.graph.improve import Improvements
from trtqat.graph.lint import lint
from trtqat.graph.macs import summarize
from trtqat.graph.names import io_names_of
from trtqat.io_names import IO_NAMES, record_of

# Protocol buffers end at 2 GiB; larger graphs would need external data files.
_MAX_BYTES = 2**31 - 1


def finish(
    model: ir.Model,
    output: Path,
    provenance: Mapping[str, Any],
    *,
    start: float,
    exporter: str,
    quantizers: int,
    disabled: int,
    pairs: int,
    improvements: Improvements,
    half: HalfResult | None,
    verification: Verification,
    notes: Sequence[str],
    returned: Sequence[str] = (),
) -> ExportResult:
    """Looks at a verified graph once more and writes it.

    Args:
        model: The finished graph; its metadata is replaced.
        output: The file.
        provenance: Recorded in the file, as the verification is; the manifest of an engine
            takes it from there.
        start: When the export began, by ``time.monotonic``.
        exporter: This and the others: fields of the result.
        quantizers: See ``ExportResult``.
        disabled: See ``ExportResult``.
        pairs: See ``ExportResult``.
        improvements: See ``ExportResult``.
        half: See ``ExportResult``.
        verification: See ``ExportResult``.
        notes: See ``ExportResult``.
        returned: What the model calls its outputs, in the graph's order; empty if that is not
            known, or an earlier export recorded it.

    Raises:
        ExportError: The graph is larger than an ONNX file can be.
        UsageError: The file cannot be written.
    """
    findings = lint(model)
    summary = summarize(model)
    names = io_names_of(model)
    if returned:
        names = replace(names, returned=tuple(returned))
    record = {
        "version": trtqat.__version__,
        **provenance,
        "qdq_pairs": summary.pairs,
        "int8_share": summary.int8_share,
        IO_NAMES: asdict(record_of(names)),
        "verification": asdict(verification),
    }
    model.metadata_props[METADATA_KEY] = json.dumps(record, sort_keys=True)
    serialized = serialize(model)
    write_atomically(output, serialized)
    return ExportResult(
        path=output,
        exporter=exporter,
        opset=summary.opset,
        quantizers=quantizers,
        disabled=disabled,
        pairs=pairs,
        improvements=improvements,
        half=half,
        quantized_inputs=provenance.get(QUANTIZED_INPUTS, {}),
        summary=summary,
        findings=findings,
        verification=verification,
        size_bytes=len(serialized),
        seconds=time.monotonic() - start,
        notes=tuple(notes),
    )


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
