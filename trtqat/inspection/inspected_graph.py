"""``trtqat.lint``: what in a graph costs speed or accuracy, and how much of it is INT8."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from trtqat.checks import check_kind
from trtqat.errors import GateError, UsageError
from trtqat.extras import require
from trtqat.files import is_plan
from trtqat.inspection.export_again import ExportAgain, export_again
from trtqat.inspection.words import (
    counted,
    describe_findings,
    describe_gate,
    describe_summary,
    explain,
)
from trtqat.text import visible

if TYPE_CHECKING:  # onnx_ir is behind them, which may be missing
    from trtqat.graph.lenses.macs import GraphSummary
    from trtqat.graph.lint.finding import Finding
    from trtqat.plan.header import Target

_PLACES = 5


@dataclass(frozen=True)
class InspectedGraph:
    """What lint finds in a graph, and what the graph consists of. ``print`` shows it all.

    Attributes:
        path: The ONNX file.
        summary: Its layers, with their multiply-accumulates, and the share of them in INT8.
        findings: What TensorRT refuses first, then by rule and in the graph's order; each with
            what it costs and the way out.
        for_: The TensorRT that the graph is for; None for all.
        left_out: How many findings concern other TensorRTs alone.
        again: What to export again for that TensorRT; None if it takes the graph as it is.
    """

    path: Path
    summary: GraphSummary
    findings: tuple[Finding, ...]
    for_: Target | None = None
    left_out: int = 0
    again: ExportAgain | None = None

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that ``--strict`` fails on."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def check_warnings(self) -> None:
        """The gate ``--strict``.

        Raises:
            GateError: Lint warns.
        """
        warnings = self.warnings
        if warnings:
            raise GateError(
                describe_gate(warnings),
                "Each finding above says what to change in the PyTorch model.",
            )

    def describe(self, *, with_notes: bool = True, all_places: bool = False) -> str:
        """The graph and its findings in words.

        Args:
            with_notes: Whether to explain notes, too, and not warnings alone.
            all_places: Whether to name every place of a rule, and not the first five.
        """
        summary = self.summary
        text = (
            f"{self.path}: opset {summary.opset}, {counted(summary.pairs, 'Q/DQ pair')}, "
            f"{counted(summary.batch_norms, 'BatchNorm')}\n"
            f"{describe_summary(summary)}\n{describe_findings(self.findings)}"
        )
        if self.left_out:
            verb = "finding concerns" if self.left_out == 1 else "findings concern"
            text += f"\n{self.left_out} {verb} other TensorRTs"
        shown = self.findings if with_notes else self.warnings
        places = len(shown) if all_places else _PLACES
        parts = [text, explain(shown, places=places, for_=self.for_), str(self.again or "")]
        return "\n\n".join(filter(None, parts))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        return {
            "summary": {**asdict(self.summary), "int8_share": self.summary.int8_share},
            "findings": [asdict(finding) for finding in self.findings],
            "for": self.for_,
            "left_out": self.left_out,
            "export_again": None if self.again is None else asdict(self.again),
        }

    def __str__(self) -> str:
        return visible(self.describe())

    def __repr__(self) -> str:
        warnings = len(self.warnings)
        return (
            f"InspectedGraph('{self.path}', {self.summary.pairs} Q/DQ pairs, {warnings} warnings, "
            f"{len(self.findings) - warnings} notes)"
        )


def lint(graph: Path | str, for_: Target | None = None) -> InspectedGraph:
    """Finds what in an ONNX file costs speed or accuracy, or makes TensorRT refuse it.

    Args:
        graph: The file. Nothing in it is changed.
        for_: The TensorRT that will build it: ``"8.6"``, ``"10"``, ``"11"`` or ``"rtx"``. What
            that one is known to take and to run in INT8 is left out. None is for all of them.

    Raises:
        UsageError: ``graph`` is no path, or an engine's, or there is no such TensorRT.
        GraphError: The file is missing, damaged or not ONNX.
        MissingError: The packages that read ONNX are not installed.
    """
    check_kind("The graph", graph, (str, os.PathLike), "'model.onnx'")
    for module in ("onnx", "onnx_ir"):
        require(module, extra="onnx", purpose="Inspecting a graph or an engine")
    from trtqat.graph.lint import examine
    from trtqat.graph.lint.targets import TARGETS
    from trtqat.graph.passes.tidy import inline_functions
    from trtqat.graph_file.reading import read_model

    path = Path(graph)
    if for_ is not None:
        check_kind("The TensorRT to lint for", for_, str, "'10'")
        if for_ not in TARGETS:
            raise UsageError(
                f"'{for_}' is no TensorRT that lint knows.", f"Write one of {', '.join(TARGETS)}."
            )
    if is_plan(path):
        raise UsageError(
            f"'{path}' is an engine, and lint is for graphs.",
            f"Show its layers with: trtqat inspect {quote(str(path))}",
        )
    model = read_model(path)
    inline_functions(model)
    findings, summary = examine(model, for_)
    kept = tuple(each for each in findings if for_ is None or each.concerns(for_))
    again = None if for_ is None else export_again(path, model, findings, for_)
    return InspectedGraph(path, summary, kept, for_, len(findings) - len(kept), again)
