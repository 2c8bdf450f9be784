"""A graph's summary and findings in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtqat.engine.coverage import Coverage
    from trtqat.graph.lint.finding import Finding
    from trtqat.graph.macs import GraphSummary

_COSTS = {
    "refusal": "TensorRT refuses it",
    "accuracy": "costs accuracy",
    "speed": "costs speed",
}


def describe_summary(summary: GraphSummary) -> str:
    """How much of the graph is INT8, in one line."""
    share = summary.int8_share
    unknown = sum(layer.macs is None for layer in summary.layers)
    return (
        f"INT8: {summary.int8_layers} of {len(summary.layers)} layers"
        + (
            f", {share:.1%} of {_scaled(summary.macs)} multiply-accumulates a sample"
            if share is not None
            else ""
        )
        + (f" ({unknown} layers of unknown shape not counted)" if unknown else "")
    )


def describe_findings(findings: Sequence[Finding]) -> str:
    """How many of each severity, in one line."""
    warnings = sum(finding.severity == "warning" for finding in findings)
    return f"lint: {_count(warnings, 'warning')}, {_count(len(findings) - warnings, 'note')}"


def explain(findings: Sequence[Finding], *, places: int) -> str:
    """All findings, those of one rule together.

    Args:
        findings: In the order in which they are to be read.
        places: How many places of one rule are listed.
    """
    paragraphs = []
    for identifier in dict.fromkeys(finding.rule for finding in findings):
        same = [finding for finding in findings if finding.rule == identifier]
        first = same[0]
        lines = [
            f"{first.severity}: {identifier} ({_COSTS[first.cost]}, {_count(len(same), 'place')})"
        ]
        lines += [f"  {finding.problem}" for finding in same[:places]]
        if len(same) > places:
            lines.append(f"  … and {len(same) - places} more; -v lists them")
        lines.append(f"  → {first.remedy}")
        lines.append(f"    {first.example}")
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


def describe_coverage(coverage: Coverage) -> str:
    """How many of the quantized layers run in INT8, why the others do not, and what is left."""
    wanted, missed = coverage.wanted, coverage.missed
    share = coverage.int8_share
    lines = [
        f"INT8: {len(wanted) - len(missed)} of {len(wanted)} quantized layers"
        + (f", {share:.1%} of the arithmetic" if share is not None else "")
    ]
    lines += [f"  {layer.name} is not seen in INT8: {layer.reason}" for layer in missed]
    lines.append(
        f"besides: {_count(len(coverage.quantizers), 'layer')} that quantize on their own, "
        f"{_count(len(coverage.reformats), 'reformat')}, {_count(len(coverage.others), 'other')}"
    )
    return "\n".join(lines)


def coverage_table(coverage: Coverage) -> tuple[Sequence[str], list[list[str]]]:
    """Columns and rows: every layer of the graph and how the engine runs it."""
    columns = ("layer", "operator", "INT8", "writes", "fused with", "kernel")
    words = {True: "yes", False: "no", None: "?"}
    return columns, [
        [
            layer.name,
            layer.operator,
            words[layer.runs_int8],
            layer.output_dtype or "?",
            ", ".join(layer.fused_with),
            layer.tactic[:40],
        ]
        for layer in coverage.layers
    ]


def _scaled(number: int) -> str:
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return str(number)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
