"""``trtqat lint``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trtqat.cli.console import command
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, say
from trtqat.cli.shared_options import LintForOption, OutputGroup

if TYPE_CHECKING:
    from trtqat.inspection.inspected_graph import InspectedGraph
    from trtqat.plan.header import Target


@grouped
def lint(
    graph: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="A graph with Q/DQ.")],
    *,
    for_: LintForOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if lint warns; notes let it pass.")
    ] = False,
    printed: OutputGroup,
) -> None:
    """Find what in a Q/DQ graph costs speed or accuracy, with the way out.

    Needs neither TensorRT nor a GPU. Every finding names its rule and its place, and says what it
    costs and what to change in the PyTorch model; what TensorRT refuses comes first. -v lists
    every place of a rule, -q explains only warnings. --for leaves out what that TensorRT takes.

    Example: trtqat lint model.onnx --strict
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        check_outputs({"--json": printed.json}, [graph])
        from trtqat.inspection.inspected_graph import lint as lint_graph

        print_graph(lint_graph(graph, cast("Target | None", for_)), printed, strict=strict)


def print_graph(found: InspectedGraph, printed: OutputGroup, *, strict: bool) -> None:
    """Prints a graph and its findings.

    Args:
        found: The graph.
        printed: Where to.
        strict: Whether the gate on warnings is closed.

    Raises:
        GateError: It is, and lint warns.
    """
    if not print_json(found.to_dict(), printed.json):
        say(found.describe(with_notes=not printed.quiet, all_places=printed.verbose))
    if strict:
        found.check_warnings()
