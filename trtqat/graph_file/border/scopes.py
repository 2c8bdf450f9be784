"""Names and order: each tensor is made once, before it is read, in subgraphs and functions too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import AttributeProto

from trtqat.graph_file.border.damage import Damage, name_of
from trtqat.graph_file.border.operators import Functions, check_node

_INPUT = -1


@dataclass(frozen=True)
class Place:
    """Where nodes stand: what they may refer to.

    Attributes:
        opsets: Version by domain.
        functions: The file's.
        in_function: Whether it is the inside of one.
    """

    opsets: Mapping[str, int]
    functions: Functions
    in_function: bool = False


def check_graph(graph: onnx.GraphProto, place: Place, *, is_main: bool) -> dict[str, str]:
    """Checks a graph, and brings its nodes into order where they are not.

    Graphs in attributes are checked on the way. That recursion is bounded: protocol buffers end
    at a depth of 100, of which each graph takes three.

    Args:
        graph: Sorted in place, if need be.
        place: Where it stands.
        is_main: Whether it is the file's graph, not an attribute of a node.

    Returns:
        What it reads from outside: who reads it, in words, by the tensor's name.

    Raises:
        Damage: A tensor is made twice, or not at all, or from itself.
    """
    made: dict[str, int] = {}
    for value in graph.input:
        _add(made, value.name, _INPUT, "Input")
    initializers = [tensor.name for tensor in graph.initializer]
    initializers += [tensor.values.name for tensor in graph.sparse_initializer]
    own: dict[str, int] = {}
    for name in initializers:
        _add(own, name, _INPUT, "Initializer")
    made.update(own)
    outside = _check_nodes(graph.node, made, place)
    seen: set[str] = set()
    for value in graph.output:
        if not value.name or value.name in seen:
            raise Damage(
                f"Output '{value.name}' is there twice." if value.name else "An output has no name."
            )
        seen.add(value.name)
        if value.name not in made:
            outside.setdefault(value.name, "an output")
    if is_main and not graph.output:
        raise Damage("The graph has no output.")
    if is_main and outside:
        name, reader = next(iter(outside.items()))
        raise Damage(f"Nothing makes the tensor '{name}', which {reader} reads.")
    return outside


def check_function(function: onnx.FunctionProto, functions: Functions) -> None:
    """Checks a function, and brings its nodes into order where they are not.

    Raises:
        Damage: A tensor is made twice, or not at all, or from itself.
    """
    made: dict[str, int] = {}
    for name in function.input:
        _add(made, name, _INPUT, "Input")
    what = f"the function '{function.domain}::{function.name}'"
    opsets = opsets_of(function.opset_import)
    outside = _check_nodes(function.node, made, Place(opsets, functions, in_function=True))
    for name in function.output:
        if name not in made:
            outside.setdefault(name, "an output")
    if outside:
        name, reader = next(iter(outside.items()))
        raise Damage(f"Nothing makes the tensor '{name}', which {reader} in {what} reads.")


def opsets_of(imports: Iterator[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Version by domain.

    Raises:
        Damage: A domain is there twice, or a version is none.
    """
    found: dict[str, int] = {}
    for each in imports:
        if not 0 < each.version < 2**31:
            raise Damage(f"The operator set '{each.domain}' has the version {each.version}.")
        if found.setdefault(each.domain, each.version) != each.version:
            raise Damage(f"The operator set '{each.domain}' is there in two versions.")
    return found


def _check_nodes(
    nodes: list[onnx.NodeProto],  # a repeated field, which is sorted in place
    made: dict[str, int],
    place: Place,
) -> dict[str, str]:
    """Adds what the nodes make to ``made``; returns what they read from outside."""
    for index, node in enumerate(nodes):
        check_node(node, place.opsets, place.functions, in_function=place.in_function)
        _add_outputs(nodes, index, made)
    outside: dict[str, str] = {}
    before: list[list[int]] = []
    is_sorted = True
    for index, node in enumerate(nodes):
        reads = {name: name_of(node) for name in node.input if name}
        for graph in _graphs_of(node):
            reads.update(check_graph(graph, place, is_main=False))
        producers = []
        for name, reader in reads.items():
            if name not in made:
                outside.setdefault(name, reader)
            elif made[name] != _INPUT:
                producers.append(made[name])
                is_sorted = is_sorted and made[name] < index
        before.append(producers)
    if not is_sorted:
        _sort(nodes, before)
    return outside


def _add_outputs(nodes: list[onnx.NodeProto], index: int, made: dict[str, int]) -> None:
    for name in nodes[index].output:
        if name in made:
            where = "an input or initializer"
            if made[name] != _INPUT:
                where = name_of(nodes[made[name]])
            raise Damage(
                f"The tensor '{name}' is made twice, by {name_of(nodes[index])} and {where}."
            )
        if name:
            made[name] = index


def _graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH and attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _sort(nodes: list[onnx.NodeProto], before: list[list[int]]) -> None:
    """Kahn's order: a node as soon as all that it reads is made."""
    behind: list[list[int]] = [[] for _ in before]
    missing = [len(producers) for producers in before]
    for index, producers in enumerate(before):
        for producer in producers:
            behind[producer].append(index)
    order = [index for index, count in enumerate(missing) if not count]
    for index in order:
        for reader in behind[index]:
            missing[reader] -= 1
            if not missing[reader]:
                order.append(reader)
    if len(order) < len(before):
        raise Damage(_cycle(nodes, before, missing))
    # Copies, as deleting from a repeated field ends its messages.
    copies = []
    for index in order:
        copy = onnx.NodeProto()
        copy.CopyFrom(nodes[index])
        copies.append(copy)
    del nodes[:]
    nodes.extend(copies)


def _cycle(nodes: list[onnx.NodeProto], before: list[list[int]], missing: list[int]) -> str:
    """A node that waits for itself, found by going back from one that waits."""
    index = next(index for index, count in enumerate(missing) if count)
    seen: set[int] = set()
    while index not in seen:
        seen.add(index)
        index = next(producer for producer in before[index] if missing[producer])
    name = next(name for name in nodes[index].output if name)
    return f"The {name_of(nodes[index])} reads what is computed from its own output '{name}'."


def _add(made: dict[str, int], name: str, index: int, what: str) -> None:
    if not name:
        raise Damage(f"An {what.lower()} has no name.")
    if name in made:
        raise Damage(f"{what} '{name}' is there twice.")
    made[name] = index
