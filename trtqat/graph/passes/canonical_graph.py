"""The passes that make an exporter's graph the canonical one, in their order.

The canonical graph: FP32 with explicit Q/DQ, per-tensor activations, per-channel weights,
explicit axes and INT8 zero-points, no trace of the exporter that made it.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import Sequential, common

from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs, expand_fake_quantize
from trtqat.graph.passes.lower_opset import lower_opset
from trtqat.graph.passes.name_nodes import name_nodes
from trtqat.graph.passes.remove_identities import remove_identities
from trtqat.graph_file.garbage import uncollected

# Newer IR versions than 8 came with newer opsets; ONNX Runtime and TensorRT's parser
# refuse a file by this number alone.
IR_VERSION_OF_OPSET_17 = 8


def canonicalize(model: ir.Model, *, opset: int) -> tuple[ir.Model, ExpandedPairs]:
    """Runs all passes.

    Args:
        model: As an exporter left it; changed in place.
        opset: The opset asked for.

    Returns:
        The canonical model and the Q/DQ pairs that were made.

    Raises:
        QuantizerError: A FakeQuantize node has no Q/DQ equivalent.
        ExportError: A node has no form in the opset asked for.
    """
    model = tidy(model)
    name_nodes(model)
    pairs = expand_fake_quantize(model)
    if opset <= 17:
        lower_opset(model)
        model.ir_version = IR_VERSION_OF_OPSET_17
    finish = Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
    )
    return finish(model).model, pairs


def inlined(model: ir.Model) -> ir.Model:
    """The graph with the functions of its file in place of their calls, in place.

    A layer inside a function is one of the graph like any other.
    """
    return common.InlinePass()(model).model if model.functions else model


@uncollected()
def tidy(model: ir.Model) -> ir.Model:
    """Inlines functions, makes constants initializers, drops Identity and unused nodes.

    Parameters behind an Identity are no constants to TensorRT: it then computes their
    BatchNorm, or dequantizes their weight, while the engine runs.
    """
    passes = Sequential(
        common.InlinePass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    )
    model = passes(model).model
    remove_identities(model)
    return common.RemoveUnusedNodesPass()(model).model
