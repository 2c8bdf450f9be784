"""Equal convolutions of one tensor are parted for TensorRT 8.6.0; the graph computes the same."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from trtqat.errors import ExportError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.verification.reference import other_output
from trtqat.graph.lenses.siblings import siblings
from trtqat.graph.lenses.targets import is_for_8_6
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.passes.part_siblings import PartedSiblings, part_siblings
from trtqat.graph.runnable import serialize_runnable
from trtqat.tensors import Arrays


def with_parted_siblings(
    model: ir.Model, options: ExportOptions, batches: Sequence[Arrays]
) -> PartedSiblings:
    """Changes a verified graph that 8.6 may read, and compares every bit with what it was.

    The floats before a quantizer differ where it saturates. So this is no pass of those that
    verification compares by such floats.

    Args:
        model: Changed in place; one that has no such convolutions stays as it is.
        options: Of the export.
        batches: Inputs of shape ``(N, …)`` by name.

    Returns:
        Which convolutions got a Clip.

    Raises:
        ExportError: The changed graph computes something else.
    """
    # TensorRT for RTX was seen to build them as they are; of 10 and 11 nobody knows it.
    is_meant = options.for_ != "rtx" and is_for_8_6(model.graph.opset_imports[""])
    if not is_meant or not siblings(GraphView(model.graph)):
        return PartedSiblings(())
    before = serialize_runnable(model)
    done = part_siblings(model)
    if name := other_output(before, batches, serialize_runnable(model)):
        raise ExportError(
            f"With a Clip behind '{done.parted[0]}' the graph computes another '{name}'.",
            "Export with --opset 19, which is not for TensorRT 8.6, and report the graph.",
        )
    return done
