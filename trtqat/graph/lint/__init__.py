"""Lint: what in a Q/DQ graph costs speed or accuracy, or makes TensorRT refuse it.

One function per rule, in the file of its subject:

    parameters.py   scales, zero-points, axes
    operators.py    nodes that TensorRT does not read, or not in INT8
    placement.py    where the pairs stand around layers
    sharing.py      pairs that meet: residual Adds, Concats, several consumers, pair behind pair
    cost.py         channel counts, layers left in floating point
    values.py       weights that are no numbers
    arithmetic.py   what multiplies besides layers: recurrences, attention, subgraphs, plugins

Advice that depends on the writer or the TensorRT stands in writers.py and transposed.py, what each
TensorRT does where a rule finds its fault in targets.py.

A fault is one finding of one rule: where two rules could speak, the more specific one does.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.macs import GraphSummary, summary_of
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint import (
    arithmetic,
    cost,
    operators,
    parameters,
    placement,
    sharing,
    values,
)
from trtqat.graph.lint.finding import Finding, Rule
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.garbage import uncollected
from trtqat.plan.header import Target

RULES: tuple[Rule, ...] = (
    *parameters.RULES,
    *operators.RULES,
    *placement.RULES,
    *sharing.RULES,
    *cost.RULES,
    *values.RULES,
    *arithmetic.RULES,
)


def rules_by_place(model: ir.Model) -> dict[str, tuple[str, ...]]:
    """Identifiers of the rules that speak of each layer or tensor, each once.

    Args:
        model: As for ``lint``.
    """
    found: dict[str, dict[str, None]] = {}
    for finding in lint(model):
        found.setdefault(finding.where, {})[finding.rule] = None
    return {place: tuple(rules) for place, rules in found.items()}


@uncollected()
def lint(model: ir.Model, for_: Target | None = None) -> tuple[Finding, ...]:
    """Runs every rule.

    Args:
        model: Any ONNX graph; shapes that it lacks are inferred, nothing else is changed.
        for_: The TensorRT that it is for; None for all. What does not concern that one is found,
            too (``Finding.concerns``).

    Returns:
        Findings: those that TensorRT refuses first, then by rule and in the graph's order.
    """
    return _findings(_look_at(model, for_))


@uncollected()
def examine(
    model: ir.Model, for_: Target | None = None
) -> tuple[tuple[Finding, ...], GraphSummary]:
    """Runs every rule and counts the arithmetic, with one look at the graph for both.

    Args:
        model: Any ONNX graph; shapes that it lacks are inferred, nothing else is changed.
        for_: The TensorRT that it is for; None for all. What does not concern that one is found,
            too (``Finding.concerns``).

    Returns:
        The findings of ``lint``, and what the graph consists of.
    """
    view = _look_at(model, for_)
    return _findings(view), summary_of(view)


def _look_at(model: ir.Model, for_: Target | None) -> GraphView:
    infer_shapes(model)
    writer = f"{model.producer_name or ''} {model.producer_version or ''}"
    return GraphView(model.graph, writer, for_ or "")


def _findings(view: GraphView) -> tuple[Finding, ...]:
    found = [finding for rule in RULES for finding in rule.findings(view)]
    order = ("refusal", "accuracy", "speed")
    return tuple(sorted(found, key=lambda f: (f.severity == "note", order.index(f.cost))))
