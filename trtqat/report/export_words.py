"""What an export made, in lines: the graph, what the passes did to it, and how it was verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING

from trtqat.inspection.words import counted, describe_findings, describe_summary
from trtqat.report.verification_words import describe_agreement

if TYPE_CHECKING:
    from trtqat.exporting.options import ExportResult
    from trtqat.graph.pixels.take_pixels import TakenInput


def describe_export(result: ExportResult) -> Iterator[str]:
    """The lines of an export, from its file to what lint found in it.

    Args:
        result: What was made.
    """
    disabled = f" ({result.disabled} disabled)" if result.disabled else ""
    yield (
        f"{result.path}: {result.summary.pairs} Q/DQ pairs for {result.quantizers} "
        f"quantizers{disabled}, "
        f"opset {result.opset}, {result.size_bytes / 1e6:.1f} MB, {result.seconds:.1f} s"
    )
    yield f"made by the {result.exporter}"
    yield from _folded(result)
    repairs = Counter(repair.name for repair in result.improvements.repairs)
    if repairs:
        listed = ", ".join(f"{count} by {name}" for name, count in repairs.items())
        yield f"repairs: {listed} (no output bit changed; -v lists them)"
    for name, scale in result.quantized_inputs.items():
        yield f"input '{name}' arrives as INT8 codes of scale {scale:.9g}, or as floats"
    for name, taken in result.pixels.items():
        yield _of_bytes(name, taken)
    if result.half is not None:
        report = result.half.report
        yield (
            f"FP16: {len(report.half)} nodes, {len(report.kept)} kept in FP32, {report.casts} casts"
        )
        for line in describe_agreement(result.half.agreement, "the FP32 graph"):
            yield f"  {line}"
    yield describe_summary(result.summary)
    if result.convolved is None:
        yield from describe_agreement(result.verification)
    else:
        yield "with linear layers, before they were written as convolutions:"
        yield from (f"  {line}" for line in describe_agreement(result.verification))
        yield "as it is written:"
        lines = describe_agreement(result.convolved, "the graph with linear layers")
        yield from (f"  {line}" for line in lines)
    yield describe_findings(result.findings)
    if result.findings:
        yield f"what they cost and how to mend them: trtqat lint {quote(str(result.path))}"


def describe_details(result: ExportResult) -> Iterator[str]:
    """What only those read who look for a reason: each repair, and each node kept in FP32.

    Args:
        result: What was made.
    """
    for repair in result.improvements.repairs:
        yield repair.what
    if result.half is not None:
        for node in result.half.report.kept:
            yield f"FP32: {node}"
        yield from result.half.report.notes


def _of_bytes(name: str, taken: TakenInput) -> str:
    way = taken.form.way
    if taken.is_quantized:
        return (
            f"input '{name}' arrives as bytes: {way.what} make the codes that the host would, for "
            f"all 256 bytes in {counted(taken.channels, 'channel')}"
        )
    return f"input '{name}' arrives as bytes: {way.what} make the floats that the host would"


def _folded(result: ExportResult) -> Iterator[str]:
    folded = result.batch_norms
    if folded is None:
        return
    yield (
        f"BatchNorm: {folded.count} folded, {folded.codes_changed} INT8 codes changed, "
        f"{len(folded.kept)} kept"
    )
    # Lint says of the others why they stay, and what that costs.
    found = {finding.where for finding in result.findings}
    by_reason: dict[str, list[str]] = {}
    for batch_norm in folded.kept:
        if batch_norm.name not in found:
            by_reason.setdefault(batch_norm.reason, []).append(batch_norm.name)
    for reason, (first, *others) in by_reason.items():
        stays = f"and {len(others)} more stay" if others else "stays"
        yield f"  {first} {stays}: {reason}"
