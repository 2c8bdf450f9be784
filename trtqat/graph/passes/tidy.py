"""Pass: what exporters leave behind goes: functions, Constant nodes, Identity and unused nodes."""

from __future__ import annotations

from functools import partial

import onnx_ir as ir
from onnx_ir.passes import common

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

    A layer inside a function is one of the graph like any other.
    """
    return Changed(int(common.InlinePass()(model).modified) if model.functions else 0)
