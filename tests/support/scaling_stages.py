"""What is done with a large graph where its cost is counted (test_scaling) or timed (a script)."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from trtqat.errors import GraphError
from trtqat.graph.half.derive import derive_half
from trtqat.graph.passes.name_nodes import name_nodes, name_unnamed
from trtqat.graph.passes.standard_pairs import standardize_pairs
from trtqat.graph.passes.take_codes import take_codes
from trtqat.graph.passes.tidy import tidy
from trtqat.graph.repair.move_pairs import move_pairs
from trtqat.graph_file.reading import read_model


def tidied(path: Path) -> ir.Model:
    """A file after what stands before ``improve``."""
    model = read_model(path)
    tidy(model)
    name_unnamed(model)
    name_nodes(model)
    standardize_pairs(model)
    return model


def derive_half_with_borders(raised: ir.Model) -> None:
    """The FP16 graph, where every other tensor is too large for FP16."""
    values = [*raised.graph.inputs, *(value for node in raised.graph for value in node.outputs)]
    derive_half(raised, {str(v.name): 1e6 if at % 2 else 1.0 for at, v in enumerate(values)})


def take_codes_where_possible(model: ir.Model) -> None:
    """INT8 inputs; those of some families are not quantized, or not alike for all readers."""
    move_pairs(model, to_inputs=True)
    try:
        take_codes(model)
    except GraphError as error:
        if "No input can be taken as INT8 codes" not in error.problem:
            raise
