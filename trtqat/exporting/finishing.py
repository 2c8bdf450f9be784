"""The last steps of every export: precision, lint, the record of the source, writing the file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import onnx_ir as ir

from trtqat.exporting.convolutions import with_convolutions
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.pixels import check_pixels, with_pixel_inputs
from trtqat.exporting.precision import check_opset, in_precision
from trtqat.exporting.quantized_input import check_quantized_input, with_quantized_inputs
from trtqat.exporting.verification.result import Verification
from trtqat.files import check_writable, write_atomically, write_together
from trtqat.graph.lenses.macs import GraphSummary
from trtqat.graph.lint import examine
from trtqat.graph.passes.improvements import Improvements
from trtqat.graph_file.names import io_names_of
from trtqat.graph_file.serialized import files_of, is_large, serialized
from trtqat.io_names import record_of
from trtqat.pixels import Pixels
from trtqat.provenance import METADATA_KEY, Provenance
from trtqat.tensors import Arrays
from trtqat.version import __version__


@dataclass(frozen=True)
class VerifiedGraph:
    """An FP32 graph that computes what its source does, and how it was made.

    Attributes:
        model: The graph, after all passes that every export runs.
        batches: Inputs ``(N, …)`` by name, on which what is derived from it is compared with it.
        provenance: What the file keeps of its source; the manifest of an engine takes it from
            there.
        exporter: What made the graph, and why.
        quantizers: Number of active quantizers in the source.
        disabled: Number of disabled ones.
        pairs: Number of Q/DQ pairs made for them, before repairs.
        improvements: What the passes did.
        verification: How close it is to the source.
        notes: What the user should know, one sentence each.
        returned: What the model calls its outputs, in the graph's order; empty if that is not
            known, or an earlier export recorded it.
        codes: Scale by input of those that take INT8 codes already.
        pixels: By input of those that take bytes of images already, what they mean.
    """

    model: ir.Model
    batches: Sequence[Arrays]
    provenance: Provenance
    exporter: str
    quantizers: int
    disabled: int
    pairs: int
    improvements: Improvements
    verification: Verification
    notes: Sequence[str]
    returned: Sequence[str] = ()
    codes: Mapping[str, float] = field(default_factory=dict)
    pixels: Mapping[str, Pixels] = field(default_factory=dict)


def check_can_finish(output: Path, options: ExportOptions) -> None:
    """Finds out before anything is computed whether the file can be written as it is asked for.

    Raises:
        UsageError: It cannot, or options exclude each other.
        MissingError: ONNX Runtime is not installed.
    """
    check_writable(output)
    check_opset(options.opset, options.precision)
    check_quantized_input(options)
    check_pixels(options)


def finish(
    verified: VerifiedGraph, output: Path, options: ExportOptions, *, start: float
) -> ExportResult:
    """Gives a verified graph its precision and its inputs, looks at it once more and writes it.

    Args:
        verified: The graph and how it was made; its metadata is replaced.
        output: The file.
        options: Of the export.
        start: When the export began, by ``time.monotonic``.

    Raises:
        ExportError: What was derived computes something else, or the graph is larger than an ONNX
            file can be, weights apart.
        GraphError: No input can be INT8.
        UsageError: The file cannot be written.
    """
    model, half = in_precision(verified.model, options, verified.batches)
    written, convolved = with_convolutions(model, options, verified.batches)
    codes = with_quantized_inputs(model, options, verified.batches, verified.codes)
    pixels = with_pixel_inputs(model, options, verified.batches)
    notes = (*verified.notes, *verified.improvements.moves.notes, *written.notes)
    found, summary = examine(model, options.for_)
    target = options.for_
    findings = tuple(each for each in found if target is None or each.concerns(target))
    provenance = replace(
        verified.provenance,
        quantized_inputs=codes or None,
        pixels={**verified.pixels, **options.pixels} or None,
    )
    changes = {"fp16": half.agreement if half else None, "convolutions": convolved}
    model.metadata_props[METADATA_KEY] = _record(verified, model, summary, provenance, changes)
    size_bytes = _write(model, output)
    return ExportResult(
        path=output,
        exporter=verified.exporter,
        opset=summary.opset,
        quantizers=verified.quantizers,
        disabled=verified.disabled,
        pairs=verified.pairs,
        improvements=verified.improvements,
        half=half,
        quantized_inputs=codes,
        pixels=pixels,
        summary=summary,
        findings=findings,
        verification=verified.verification,
        convolved=convolved,
        size_bytes=size_bytes,
        seconds=time.monotonic() - start,
        notes=notes,
    )


def _record(
    verified: VerifiedGraph,
    model: ir.Model,
    summary: GraphSummary,
    provenance: Provenance,
    changes: Mapping[str, Verification | None],
) -> str:
    """What the file says of itself, as JSON.

    Args:
        verified: The graph, before it was changed for one precision or TensorRT.
        model: The finished graph.
        summary: Of it.
        provenance: Where it comes from.
        changes: By what changed it since, how close it was before and behind.
    """
    names = io_names_of(model)
    if verified.returned:
        names = replace(names, returned=tuple(verified.returned))
    record = replace(
        provenance,
        version=provenance.version or __version__,
        qdq_pairs=summary.pairs,
        int8_share=summary.int8_share,
        io_names=record_of(names),
        verification=asdict(verified.verification)
        | {name: asdict(each) for name, each in changes.items() if each is not None},
    )
    return record.to_json()


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
