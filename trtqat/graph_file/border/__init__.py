"""The border: what is checked once of an ONNX file, so that everything behind may rely on it.

    contents.py    every text is UTF-8
    tensors.py     stored tensors have the size that they declare, in the file or beside it
    operators.py   nodes have the inputs, outputs and attributes of their operators
    scopes.py      each tensor is made once, before it is read
    declared_types.py
                   element types follow from the nodes
    parameters.py  parameters that belong together have shapes that fit
    batch.py       dimensions of -1, and a batch of 0, are open

After ``check_file`` a graph is a DAG in order, with unique names and inputs that exist, and the
types that it declares are those that its nodes make; so are the graphs in its nodes and its
functions. Shapes may still contradict each other, as onnx's inference of them is not complete.

Each step is linear in the size of the file, and none reads weights.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import onnx

from trtqat.graph_file.border.batch import open_dimensions
from trtqat.graph_file.border.contents import read_contents
from trtqat.graph_file.border.damage import Damage
from trtqat.graph_file.border.declared_types import check_declared, check_inputs, check_types
from trtqat.graph_file.border.operators import Functions
from trtqat.graph_file.border.scopes import Place, check_function, check_graph, opsets_of
from trtqat.graph_file.border.tensors import check_sparse, check_tensors

__all__ = ["Damage", "check_file"]

_LOG = logging.getLogger(__name__)


def check_file(model: onnx.ModelProto, folder: Path) -> bool:
    """Checks a file as it was parsed, without its external data.

    Args:
        model: Changed in place where that is harmless: nodes are brought into order, stale shapes
            left out, a batch of 0 or -1 becomes an open one, and ``ai.onnx`` is written as ``""``.
        folder: Where external data lies.

    Returns:
        Whether it runs otherwise than it was: its declared dimensions were changed.

    Raises:
        Damage: It is not as ONNX has it.
    """
    if model.ir_version < 1:
        raise Damage("The file names no version of ONNX's format.")
    contents = read_contents(model)
    _normalize_domains(model)
    opsets = opsets_of(model.opset_import)
    if opsets.get("", 1) > (newest := onnx.defs.onnx_opset_version()):
        raise Damage(
            f"The file is of opset {opsets['']}; the installed onnx {onnx.__version__} knows "
            f"{newest} at most.",
            "Upgrade it: pip install --upgrade onnx onnxruntime",
        )
    check_tensors(contents.tensors, folder)
    check_sparse(contents.sparse)
    functions = _functions_of(model)
    for function in model.functions:
        check_function(function, functions)
    check_graph(model.graph, Place(opsets, functions), is_main=True)
    check_declared(contents.values, contents.types)
    is_changed = open_dimensions(model.graph)
    check_inputs(model.graph)
    stale = check_types(model, opsets, functions)
    if stale:
        _LOG.debug("%d declared shapes, as that of '%s', do not follow.", len(stale), stale[0])
    return is_changed


def _normalize_domains(model: onnx.ModelProto) -> None:
    for each in model.opset_import:
        if each.domain == "ai.onnx":
            each.domain = ""


def _functions_of(model: onnx.ModelProto) -> Functions:
    found: dict[tuple[str, str], onnx.FunctionProto] = {}
    overloads: set[tuple[str, str, str]] = set()
    for function in model.functions:
        key = (function.domain, function.name)
        if (*key, function.overload) in overloads:
            raise Damage(f"The function '{function.domain}::{function.name}' is there twice.")
        overloads.add((*key, function.overload))
        found[key] = function
    _check_calls(found)
    return found


def _check_calls(functions: Functions) -> None:
    """No function calls itself, by way of others: what inlines them would not end."""
    callers: dict[tuple[str, str], list[tuple[str, str]]] = {key: [] for key in functions}
    missing = dict.fromkeys(functions, 0)
    for key, function in functions.items():
        called = {(node.domain, node.op_type) for node in _all_nodes(function)} & functions.keys()
        missing[key] = len(called)
        for each in called:
            callers[each].append(key)
    done = [key for key, count in missing.items() if not count]
    for key in done:
        for caller in callers[key]:
            missing[caller] -= 1
            if not missing[caller]:
                done.append(caller)
    if len(done) < len(functions):
        domain, name = next(key for key, count in missing.items() if count)
        raise Damage(f"The function '{domain}::{name}' calls itself.")


def _all_nodes(function: onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """With those of the graphs in its nodes."""
    pending = list(function.node)
    for node in pending:
        yield node
        for attribute in node.attribute:
            pending.extend(attribute.g.node)
            pending.extend(each for graph in attribute.graphs for each in graph.node)
