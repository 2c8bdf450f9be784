"""Behind bytes for TensorRT 8.6 linear layers become convolutions; the graph computes the same."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from trtqat.errors import ExportError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pixels import choice_behind_bytes
from trtqat.exporting.verification.reference import outputs_of
from trtqat.graph.passes.write_convolutions import write_convolutions
from trtqat.graph.runnable import serialize_runnable
from trtqat.graph_file.serialized import Serialized
from trtqat.numerics import difference
from trtqat.tensors import Arrays


def with_convolutions(
    model: ir.Model, options: ExportOptions, batches: Sequence[Arrays]
) -> tuple[str, ...]:
    """Changes a verified graph where that is needed, and compares its outputs with what they were.

    The tensors inside have other shapes then. So this is no pass of those that verification
    compares tensor by tensor.

    Args:
        model: Before it takes bytes; changed in place.
        options: Of the export.
        batches: Inputs of shape ``(N, …)`` by name.

    Returns:
        A sentence for the user; none where nothing was changed.

    Raises:
        ExportError: The changed graph computes something else.
    """
    choice = choice_behind_bytes(options, model.graph)
    if choice is None or not choice.convolve:
        return ()
    before = serialize_runnable(model)
    count = write_convolutions(model).count
    if not count:
        return ()
    if name := _far(before, serialize_runnable(model), batches, options.min_sqnr_db):
        raise ExportError(
            f"With convolutions in place of linear layers the graph computes another '{name}'.",
            "Export with --for 10, 11 or rtx, which need none, and report the graph.",
        )
    what = "1 layer is" if count == 1 else f"{count} layers are"
    return (
        f"{what} written as convolutions and pools, as TensorRT 8.6 would compute them and what "
        "stands before them in floating point behind bytes. --for 10, 11 or rtx changes nothing.",
    )


def _far(before: Serialized, after: Serialized, batches: Sequence[Arrays], least_db: float) -> str:
    """The first output whose SQNR is below the least; empty if there is none."""
    found = zip(outputs_of(before, batches), outputs_of(after, batches), strict=True)
    for expected, actual in found:
        for name, array in expected.items():
            if difference(array, actual[name]).sqnr_db < least_db:
                return name
    return ""
