"""The first node with which TensorRT no longer builds a graph, found by building parts of it.

Where a build fails, 8.6.0 often names no layer. The graph is cut behind a node, all tensors that
the rest reads become outputs, and the part is built in a process of its own, without a timing
cache. By halves the place is found where a part is refused for the whole's reason and the part one
node shorter is not. A part may be refused for another reason, as its outputs are others: 8.6.0 did
so of parts that end with codes, or inside of what it would fuse. Such a part says nothing of the
whole, so it counts as one that is built, and is told.

    python -m scripts.bench.first_refused model.onnx [--tactic-sources=-cublas] [--for rtx]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from scripts.bench.quiet import exit_code_of
from trtqat.building.apart import build_plan_apart
from trtqat.building.options import BuildOptions
from trtqat.building.source_graph import read_source_graph
from trtqat.errors import BuildError
from trtqat.graph.lenses.pairs import DEQUANTIZE
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model

# How TensorRT names what it compiles together: by the first and the last node.
_OF_SEVERAL = re.compile(r"\{ForeignNode\[.*?\]\}")
# What the parser adds is numbered, so the same one has another number in a part.
_UNNAMED = re.compile(r"\(Unnamed Layer\* \d+\)")
# Builds a part of so many nodes, and says why it is refused; empty where it is built.
Reason = Callable[[int], str]


@dataclass(frozen=True)
class FirstRefused:
    """What was found.

    Attributes:
        node: Name and operator of the first node with which it is refused; empty if the whole graph
            is built.
        number: Which one it is, from 1.
        nodes: How many the graph has.
        reason: Why the part that ends with it is refused, as the whole is.
        others: Numbers of nodes of the parts that were refused for other reasons.
    """

    node: str
    number: int
    nodes: int
    reason: str
    others: tuple[int, ...]

    def __str__(self) -> str:
        if not self.node:
            return f"The whole graph of {self.nodes} nodes is built."
        found = f"Refused from node {self.number} of {self.nodes} on, {self.node}: {self.reason}"
        if not self.others:
            return found
        numbers = ", ".join(map(str, self.others))
        return f"{found}\nRefused for other reasons, which say nothing of it: parts of {numbers}."


def main(given: list[str] | None = None) -> int:
    """Prints what it finds.

    Args:
        given: The command line; None takes the process's own.

    Returns:
        0, or the exit code of what went wrong.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("graph", type=Path)
    parser.add_argument("--tactic-sources", default="", help="as trtqat build takes them")
    parser.add_argument("--for", dest="for_", choices=["8.6", "10", "11", "rtx"])
    arguments = parser.parse_args(given)
    options = BuildOptions(tactic_sources=arguments.tactic_sources, for_=arguments.for_)
    return exit_code_of(lambda: print(first_refused(arguments.graph, options)), arguments.graph)


def first_refused(graph: Path, options: BuildOptions) -> FirstRefused:
    """Searches by halves.

    Args:
        graph: The ONNX file, with Q/DQ.
        options: How its parts are built.

    Raises:
        TrtqatError: The file cannot be read or has no Q/DQ, or there is nothing to build with.
    """
    nodes = read_source_graph(graph).nodes
    # Shorter parts have no pair, and so are no graphs to build.
    unpaired = [operator for _, operator in nodes].index(DEQUANTIZE)
    with tempfile.TemporaryDirectory() as folder:
        part, plan = Path(folder, "part.onnx"), Path(folder, "part.engine")

        def reason(count: int) -> str:
            write_part(graph, count, part)
            why = ""
            try:
                build_plan_apart(part, plan, options)
            except BuildError as error:
                why = error.problem
            print(f"{count} nodes: {why or 'built'}", file=sys.stderr, flush=True)
            return why

        return _search(nodes, unpaired, reason)


def _search(nodes: Sequence[tuple[str, str]], unpaired: int, reason: Reason) -> FirstRefused:
    whole = reason(len(nodes))
    if not whole:
        return FirstRefused("", 0, len(nodes), "", ())
    names = sorted((name for name, _ in nodes if name), key=len, reverse=True)
    wanted, others = _kind(whole, names), list[int]()
    built, refused, why = unpaired, len(nodes), whole
    while refused - built > 1:
        middle = (built + refused) // 2
        found = reason(middle)
        if found and _kind(found, names) == wanted:
            refused, why = middle, found
        else:
            built = middle
            others += [middle] if found else []
    name, operator = nodes[refused - 1]
    node = f"'{name}' ({operator})"
    return FirstRefused(node, refused, len(nodes), why, tuple(others))


def _kind(reason: str, names: Sequence[str]) -> str:
    """A reason without the names of nodes, which may differ where the fault is the same."""
    for name in names:
        reason = reason.replace(name, "")
    return _UNNAMED.sub("", _OF_SEVERAL.sub("", reason))


def write_part(graph: Path, count: int, part: Path) -> None:
    """Writes the first nodes of a graph as a graph.

    Args:
        graph: The ONNX file.
        count: How many nodes; all leaves its outputs as they are.
        part: Where to. What its nodes make and none of them reads is an output, as is what was one.
    """
    model = read_model(graph)
    nodes = list(model.graph)
    kept, rest = nodes[:count], nodes[count:]
    if rest:
        infer_shapes(model)
        outputs = set(model.graph.outputs)
        open_ends = [
            value
            for node in kept
            for value in node.outputs
            if value in outputs or not set(value.consumers()) <= set(kept)
        ]
        model.graph.outputs.clear()
        model.graph.outputs.extend(open_ends)
        model.graph.remove(rest, safe=True)
    ir.save(model, part)


if __name__ == "__main__":
    sys.exit(main())
