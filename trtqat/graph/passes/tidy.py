"""Pass: what exporters leave behind goes: functions, Constant nodes, Identity and unused nodes."""

from __future__ import annotations

from functools import partial

import onnx_ir as ir
from onnx_ir.passes import common

from trtqat.graph.lenses.basics import NAME_IN_ENGINE, name_in_engine
from trtqat.graph.passes.cast_bytes_first import cast_bytes_first
from trtqat.graph.passes.protocol import Changed, Pass, Results, of_library, run
from trtqat.graph.passes.remove_identities import remove_identities
from trtqat.graph_file.garbage import uncollected

_LIFT = partial(common.LiftConstantsToInitializersPass, lift_all_constants=True, size_limit=0)
_TIDY: tuple[Pass, ...] = (
    of_library(common.InlinePass),
    of_library(_LIFT),
    remove_identities,
    cast_bytes_first,
    of_library(common.RemoveUnusedNodesPass),
)


@uncollected()
def tidy(model: ir.Model) -> Results:
    """Inlines functions, makes constants initializers, drops Identity and unused nodes, in place.

    Bytes are cast before they are moved.

    Parameters behind an Identity are no constants to TensorRT: it then computes their
    BatchNorm, or dequantizes their weight, while the engine runs.
    """
    return run(_TIDY, model)


def inline_functions(model: ir.Model) -> Changed:
    """Writes the functions of a file in place of their calls, in place.

    A layer inside a function is one of the graph like any other. It keeps what TensorRT calls it.
    """
    if not model.functions:
        return Changed(0)
    inline = common.InlinePass()
    inline.requires(model)  # no function calls itself
    names = _names_in_engine(model)
    changed = inline(model).modified
    for node, name in zip(model.graph, names, strict=True):
        if name != node.name:
            node.meta[NAME_IN_ENGINE] = name
    return Changed(int(changed))


def _names_in_engine(model: ir.Model) -> list[str]:
    """As TensorRT's parser calls the nodes, in their order: ``"conv | /call (Function)"``."""
    names = []
    calls = [(iter(model.graph), "")]
    while calls:
        nodes, behind = calls[-1]
        node = next(nodes, None)
        if node is None:
            calls.pop()
            continue
        name = name_in_engine(node)
        function = model.functions.get(node.op_identifier())
        if function is None:
            names.append(name + behind)
        else:
            calls.append((iter(function), f" | {name} ({node.op_type}){behind}"))
    return names
