"""Behind bytes for TensorRT 8.6 linear layers become convolutions; the graph computes the same."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pixels import choice_behind_bytes
from trtqat.exporting.verification.example import Example
from trtqat.exporting.verification.pieces import FP32
from trtqat.exporting.verification.reference import GraphReference, Words
from trtqat.exporting.verification.verify import verify
from trtqat.graph.passes.write_convolutions import write_convolutions
from trtqat.graph.runnable import serialize_runnable
from trtqat.graph_file.serialized import Serialized
from trtqat.tensors import Arrays

_WORDS = Words(
    "The graph with convolutions in place of linear layers",
    "the graph that has these",
    "Export with --for 10, 11 or rtx, which need none, and report the graph.",
)


class _OutputsAlone(GraphReference):
    """A graph of which no tensor inside is compared, as those have other shapes in the other."""

    def complete(self, example: Example, graph: Serialized) -> Example:
        """The example as it is."""
        del graph
        return example


def with_convolutions(
    model: ir.Model, options: ExportOptions, batches: Sequence[Arrays]
) -> tuple[str, ...]:
    """Changes a verified graph where that is needed, and compares its outputs with what they were.

    The tensors inside have other shapes then. So this is no pass of those that verification
    compares tensor by tensor. Outputs are to agree as ``--min-sqnr-db`` says, or as a piece has to
    if that is less. They may be further apart where the graph moves so far by a few roundings.

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
    reference = _OutputsAlone(before, batches, _WORDS)
    least_db = min(options.min_sqnr_db, FP32.least_db)
    verify(serialize_runnable(model), reference, min_sqnr_db=least_db)
    what = "1 layer is" if count == 1 else f"{count} layers are"
    return (
        f"{what} written as convolutions and pools, as TensorRT 8.6 would compute them and what "
        "stands before them in floating point behind bytes. --for 10, 11 or rtx leaves them.",
    )
