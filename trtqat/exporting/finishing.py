"""The last steps of every export: lint, record where the graph comes from, write the file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

import trtqat
from trtqat.exporting.options import ExportResult, HalfResult
from trtqat.exporting.verification.agreement import Agreement
from trtqat.files import write_atomically, write_together
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lint import lint
from trtqat.graph.passes.improvements import Improvements
from trtqat.graph_file.names import io_names_of
from trtqat.graph_file.serialized import files_of, is_large, serialized
from trtqat.io_names import IO_NAMES, record_of
from trtqat.provenance import METADATA_KEY, QUANTIZED_INPUTS


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
    verification: Agreement,
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
        ExportError: The graph is larger than an ONNX file can be, weights apart.
        UsageError: The file cannot be written.
    """
    notes = [*notes, *improvements.moves.notes]
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
    size_bytes = _write(model, output)
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
        size_bytes=size_bytes,
        seconds=time.monotonic() - start,
        notes=tuple(notes),
    )


def _write(model: ir.Model, output: Path) -> int:
    """Writes the file and, above 2 GiB, its weights beside it; returns the bytes of both."""
    if not is_large(model):
        content = serialized(ir.to_proto(model))
        write_atomically(output, content)
        return len(content)
    # A link would lead the graph away from its weights.
    files = files_of(model, Path(os.path.realpath(output)))
    write_together(files)
    return sum(path.stat().st_size for path in files)
