"""A graph's summary and findings, and how an engine runs its layers, in words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trtqat.text import visible_line

if TYPE_CHECKING:
    from trtqat.graph.lenses.macs import GraphSummary
    from trtqat.graph.lint.finding import Finding
    from trtqat.plan.coverage import Coverage, PlanCost
    from trtqat.plan.header import Target

# What a plan of TensorRT for RTX proves, and what nobody has seen: these words everywhere.
IN_THE_PLAN = "inputs and weights are INT8 in the built plan"
NOT_RUN = "built and inspected, not run"
# How many layers a line names.
_NAMES = 3
# How many reasons of one kind are told, each with its place.
_REASONS = 5
# How many characters of a kernel's or engine layer's name stand in a table.
_WIDEST = 40
# Profiles that differ in their batches alone.
_BATCHES = re.compile(r"[\d:, ]+")
_COSTS = {
    "refusal": "TensorRT refuses it",
    "accuracy": "costs accuracy",
    "speed": "costs speed",
}


def describe_summary(summary: GraphSummary) -> str:
    """How much of the graph is INT8, and what is not counted, in one line each."""
    share, missing = summary.int8_share, summary.not_counted
    text = f"INT8: {summary.int8_layers} of {summary.understood_layers} layers"
    if share is not None and missing:
        text += (
            f", {'' if share == 1 else 'at least '}{_percent(share)} of the multiply-accumulates a "
            f"sample, of which {_scaled(summary.macs)} are counted"
        )
    elif share is not None:
        text += f", {_percent(share)} of {_scaled(summary.macs)} multiply-accumulates a sample"
    elif summary.macs:
        text += (
            f", {_scaled(summary.int8_macs)} of {_scaled(summary.macs)} multiply-accumulates a "
            "sample, as far as they can be counted"
        )
    return text + _not_counted([(each.name, each.operator) for each in missing])


def describe_findings(findings: Sequence[Finding]) -> str:
    """How many of each severity, in one line."""
    warnings = sum(finding.severity == "warning" for finding in findings)
    return f"lint: {counted(warnings, 'warning')}, {counted(len(findings) - warnings, 'note')}"


def describe_gate(warnings: Sequence[Finding]) -> str:
    """Why the gate ``--strict`` is not met: how many warnings, and where the first one is."""
    return f"Lint warns {counted(len(warnings), 'time')}, first of '{warnings[0].where}'."


def describe_cost(finding: Finding, for_: Target | None = None) -> str:
    """What a finding costs, and for a refusal which TensorRTs it concerns.

    Args:
        finding: What lint found.
        for_: The TensorRT that the graph is for; None for all.
    """
    if finding.cost != "refusal":
        return _COSTS[finding.cost]
    from trtqat.graph.lint.targets import TARGET_NAMES

    asked = [for_] if for_ else [target for target in TARGET_NAMES if target in finding.targets]
    outcomes = [finding.targets.get(target, "unknown") for target in asked]
    names = {
        outcome: [
            TARGET_NAMES[t] for t, found in zip(asked, outcomes, strict=True) if found == outcome
        ]
        for outcome in dict.fromkeys(outcomes)
    }
    refusing, floats = names.get("refused", []), names.get("float", [])
    if not for_ and len(refusing) == len(asked):
        return _COSTS["refusal"]
    parts = []
    if refusing:
        parts.append(f"{_joined(refusing)} refuse{'s' if len(refusing) == 1 else ''} it")
    elif "unknown" in names:
        parts.append(f"{_joined(names['unknown'])} may refuse it")
    if floats:
        parts.append(f"{_joined(floats)} builds it in floating point")
    return "; ".join(parts)


def _joined(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def explain(findings: Sequence[Finding], *, places: int, for_: Target | None = None) -> str:
    """All findings, those of one rule and remedy together.

    Args:
        findings: In the order in which they are to be read.
        places: How many places of one rule are listed.
        for_: The TensorRT that the graph is for; None for all.
    """
    paragraphs = []
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:  # a rule can have other advice in another place
        groups.setdefault((finding.rule, finding.remedy), []).append(finding)
    for same in groups.values():
        first = same[0]
        lines = [
            f"{first.severity}: {first.rule} ({describe_cost(first, for_)}, "
            f"{counted(len(same), 'place')})"
        ]
        lines += [f"  {visible_line(finding.problem)}" for finding in same[:places]]
        if len(same) > places:
            lines.append(f"  … and {len(same) - places} more; -v lists them")
        lines.append(f"  → {first.remedy}")
        if first.example:
            lines.append(f"    {first.example}")
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


def describe_coverage(coverage: Coverage) -> str:
    """How many of the quantized layers run in INT8, why the others do not, and what is left."""
    coverage = _on_one_line(coverage)
    wanted, missed = coverage.wanted, coverage.missed
    share = coverage.int8_share
    lines = [
        (
            f"INT8: {len(wanted) - len(missed)} of {len(wanted)} quantized layers"
            if wanted
            else f"INT8: {len(coverage.unasked)} of {len(coverage.layers)} layers, though none has "
            "pairs of plain INT8 at both operands"
            if coverage.unasked
            else f"INT8: 0 of {len(coverage.layers)} layers, as the graph quantizes none"
        )
        + (f", {_least(coverage)}{_percent(share)} of the arithmetic" if share is not None else "")
    ]
    if coverage.profiles:
        batches, count = ", ".join(coverage.profiles), len(coverage.profiles)
        batches = profiles_in_words(batches)
        # Of two profiles each may have in INT8 what the other one has not.
        if_so = "counted if so " if missed else ""
        each = f"{if_so}in each of {count} profiles ({batches})"
        lines[0] += f", {each if count > 1 else f'in the profile for {batches} alone'}"
    if not coverage.has_kernels:
        lines[0] += f": {IN_THE_PLAN}" if len(missed) < len(wanted) else ""
    floats = coverage.unwanted
    if floats:
        kinds = ", ".join(dict.fromkeys(layer.operator for layer in floats))
        lines[0] += f"; not quantized: {len(floats)} ({kinds}), first {floats[0].name}"
        if wanted and coverage.unasked:
            lines[0] += f", {len(coverage.unasked)} of them INT8 all the same"
    lines[0] += _not_counted([(each.name, each.operator) for each in coverage.not_counted])
    for reason in dict.fromkeys(layer.reason for layer in missed):
        names = [layer.name for layer in missed if layer.reason == reason]
        which = f"{names[0]} is" if len(names) == 1 else f"{len(names)}, first {names[0]}, are"
        lines.append(f"  {which} not seen in INT8: {reason}")
    exits = list(dict.fromkeys(layer.reason for layer in coverage.leaving))
    for reason in exits[:_REASONS]:
        names = [layer.name for layer in coverage.leaving if layer.reason == reason]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"  floating point behind {names[0]}{more}: {reason}")
    if len(exits) > _REASONS:
        lines.append(f"  … and {len(exits) - _REASONS} more such places; --json has them")
    lines += [_COSTS_OF_PLANS[cost.kind](cost) for cost in coverage.costs]
    # What no layer of the graph is was read of one profile.
    besides = "besides" + (", in one of these profiles" if len(coverage.profiles) > 1 else "")
    if not coverage.has_kernels:
        # Some may multiply: a recurrence is many kernels, of which one is told.
        lines.append(f"{besides}: {counted(len(coverage.others), 'other layer')} of the plan")
        lines.append(f"{NOT_RUN}: the GPU that loads the plan compiles its kernels")
        return "\n".join(lines)
    rest = (
        (coverage.quantizers, "layer", " that quantize on their own"),
        (coverage.reformats, "reformat", ""),
        (coverage.others, "other", ""),
    )
    # A compiler's kernel may quantize, too, and nothing says so: none named is not none.
    there = [_kind(coverage, *each) for each in rest if each[0]]
    return "\n".join([*lines, f"{besides}: {', '.join(there)}"] if there else lines)


def _on_one_line(coverage: Coverage) -> Coverage:
    """The same, with names that begin no line: anybody's could say what is INT8 there."""
    return replace(
        coverage,
        layers=tuple(
            replace(
                layer,
                name=visible_line(layer.name),
                operator=visible_line(layer.operator),
                reason=visible_line(layer.reason),
            )
            for layer in coverage.layers
        ),
        costs=tuple(
            replace(cost, layers=tuple(map(visible_line, cost.layers))) for cost in coverage.costs
        ),
        profiles=tuple(map(visible_line, coverage.profiles)),
    )


def profiles_in_words(names: str) -> str:
    """The names of profiles, with "batch" before them where that is what they are.

    Args:
        names: As ``--batch`` takes them, or as ``--shapes``, with commas between.
    """
    return f"batch {names}" if _BATCHES.fullmatch(names) else names


def coverage_table(coverage: Coverage) -> tuple[Sequence[str], list[list[str]]]:
    """Columns and rows: every layer of the graph and how the engine runs it."""
    words = {True: "yes", False: "no", None: "?"}
    if not coverage.has_kernels:
        return ("layer", "operator", "INT8", "reads", "weights", "writes", "plan's layer"), [
            [
                layer.name,
                layer.operator,
                words[layer.runs_int8],
                ", ".join(layer.input_dtypes) or "?",
                layer.weight_dtype or "-",
                layer.output_dtype or "?",
                layer.engine_layer[:_WIDEST],
            ]
            for layer in coverage.layers
        ]
    columns = ("layer", "operator", "INT8", "writes", "ms", "fused with", "kernel")
    return columns, [
        [
            layer.name,
            layer.operator,
            words[layer.runs_int8],
            layer.output_dtype or "?",
            "" if layer.time_ms is None else f"{layer.time_ms:.4f}",
            ", ".join(layer.fused_with),
            layer.tactic[:_WIDEST],
        ]
        for layer in coverage.layers
    ]


def _describe_widened(cost: PlanCost) -> str:
    return (
        f"  {counted(len(cost.layers), 'convolution')} widened to full groups of channels, first "
        f"{cost.layers[0]}: {_scaled(cost.amount)} instead of {_scaled(cost.least)} "
        "multiply-accumulates a sample"
    )


def _describe_float_output(cost: PlanCost) -> str:
    return (
        f"  {counted(len(cost.layers), 'layer')}, first {cost.layers[0]}: {_bytes(cost.amount)} of "
        f"floating point a sample that another kernel quantizes; INT8 is {_bytes(cost.least)}"
    )


def _describe_float32(cost: PlanCost) -> str:
    return (
        f"  FP16 (trtqat export --precision fp16 --opset 19) would halve {_bytes(cost.amount)} of "
        f"FP32 a sample behind {counted(len(cost.layers), 'layer')}, first {cost.layers[0]}; "
        "INT8 convolutions write FP32 there too"
    )


_COSTS_OF_PLANS = {
    "widened": _describe_widened,
    "float-output": _describe_float_output,
    "float32": _describe_float32,
}


def _bytes(number: int) -> str:
    if number < 1e5:
        return f"{number / 1e3:.3g} kB"
    return f"{number / 1e6:.3g} MB" if number < 999.5e6 else f"{number / 1e9:.3g} GB"


def _least(coverage: Coverage) -> str:
    """Before a share that may be larger: INT8 was not seen everywhere, or not all is counted."""
    share = coverage.int8_share
    is_open = any(layer.runs_int8 is None or layer.macs is None for layer in coverage.wanted)
    return "at least " if is_open and share != 1 else ""


def _percent(share: float) -> str:
    """Rounded down: all of it is all of it. What is more than nothing is not 0."""
    if 0 < share < 0.001:
        step = 10.0 ** math.floor(math.log10(share))
        return f"{100 * step * math.floor(share / step):.1g}%"
    # Of 57 % floats may make 569.99… thousandths.
    return f"{math.floor(round(share * 1000, 6)) / 10:.1f}%"


def _not_counted(layers: Sequence[tuple[str, str]]) -> str:
    """A line that names them, by name and operator; nothing if there are none."""
    if not layers:
        return ""
    named = [f"'{name}' ({operator})" for name, operator in layers[:_NAMES]]
    listed = ", ".join(map(visible_line, named))
    more = f" and {len(layers) - _NAMES} more" if len(layers) > _NAMES else ""
    return f"\narithmetic not counted: {listed}{more}"


def _kind(coverage: Coverage, names: Sequence[str], what: str, which: str) -> str:
    time_ms = coverage.time_ms(names)
    if not time_ms:
        return counted(len(names), what) + which
    timed = sum(name in coverage.times_ms for name in names)
    part = "" if timed == len(names) else f" for {timed} of them"
    return counted(len(names), what) + which + f" ({time_ms:.3f} ms{part})"


def _scaled(number: int) -> str:
    # What rounds to a thousand of a word is one of the next.
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= 0.9995 * size and number >= 1000:
            # Python would write 1.5e+04 of so many billions.
            part = number / size
            return f"{part:,.0f} {word}" if part >= 999.5 else f"{part:.3g} {word}"
    return str(number)


def counted(number: int, what: str) -> str:
    """``1 pair``, ``2 pairs``.

    Args:
        number: How many.
        what: What one of them is called.
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
