"""The passes that make an exporter's graph the canonical one, in their order.

The canonical graph: FP32 with explicit Q/DQ, per-tensor activations, per-channel weights,
explicit axes and INT8 zero-points, no trace of the exporter that made it.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from trtqat.graph.lenses.targets import is_for_8_6
from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs, expand_fake_quantize
from trtqat.graph.passes.fold_splits import fold_splits
from trtqat.graph.passes.lower_opset import lower_opset, write_ir_version
from trtqat.graph.passes.name_nodes import name_nodes
from trtqat.graph.passes.protocol import Pass, of_library, only_if, run
from trtqat.graph.passes.tidy import tidy
from trtqat.graph.passes.write_trilu import write_trilu


def canonical_graph(*, opset: int) -> tuple[Pass, ...]:
    """The passes for the opset asked for."""
    return (
        tidy,
        fold_splits,
        name_nodes,
        expand_fake_quantize,  # where a Q/DQ pair is made
        *only_if(is_for_8_6(opset), lower_opset, write_ir_version, write_trilu),
        of_library(common.RemoveUnusedNodesPass),
        of_library(common.RemoveUnusedFunctionsPass),
        of_library(common.RemoveUnusedOpsetsPass),
        of_library(common.TopologicalSortPass),
    )


def canonicalize(model: ir.Model, *, opset: int) -> ExpandedPairs:
    """Makes a graph canonical, in place.

    Args:
        model: As an exporter left it.
        opset: The opset asked for.

    Returns:
        The Q/DQ pairs that were made.

    Raises:
        QuantizerError: A FakeQuantize node has no Q/DQ equivalent.
        ExportError: A node has no form in the opset asked for.
    """
    (pairs,) = run(canonical_graph(opset=opset), model).of(ExpandedPairs)
    return pairs
