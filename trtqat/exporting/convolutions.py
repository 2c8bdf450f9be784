"""Behind bytes for TensorRT 8.6 linear layers become convolutions; the graph computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pixels import choice_behind_bytes
from trtqat.exporting.verification.example import Example, Passed
from trtqat.exporting.verification.reference import GraphReference, Words
from trtqat.exporting.verification.result import Verification
from trtqat.exporting.verification.verify import verify
from trtqat.graph.passes.write_convolutions import WrittenConvolutions, write_convolutions
from trtqat.graph.runnable import serialize_runnable
from trtqat.graph_file.serialized import Serialized
from trtqat.tensors import Array, Arrays

_WORDS = Words(
    "The graph with convolutions",
    "the graph with linear layers",
    "Export with --for 10, 11 or rtx, which need no convolutions, and report the graph.",
)


def with_convolutions(
    model: ir.Model, options: ExportOptions, batches: Sequence[Arrays]
) -> tuple[WrittenConvolutions, Verification | None]:
    """Changes a verified graph where that is needed, and verifies it against what it was.

    Args:
        model: Before it takes bytes; changed in place.
        options: Of the export.
        batches: Inputs of shape ``(N, …)`` by name.

    Returns:
        What was done, and how close the changed graph is to the one with linear layers; None where
        it stays that one.

    Raises:
        ExportError: The changed graph computes something else.
    """
    choice = choice_behind_bytes(options, model.graph)
    if choice is None or not choice.convolve:
        return WrittenConvolutions(0), None
    before = serialize_runnable(model)
    done = write_convolutions(model)
    if not done.count:
        return done, None
    reference = _WithImages(before, batches, _WORDS, frozenset(done.images))
    return done, verify(serialize_runnable(model), reference, min_sqnr_db=options.min_sqnr_db)


@dataclass(frozen=True, eq=False)
class _WithImages(GraphReference):
    """A graph, of which some tensors are compared as images of one pixel.

    Attributes:
        images: Names of dequantized tensors ``(N, K)``.
    """

    images: frozenset[str]

    def complete(self, example: Example, graph: Serialized) -> Example:
        """The example with what passes the pairs, in the shapes of the other graph."""
        complete = super().complete(example, graph)
        passed = {
            name: _as_image(each) if name in self.images else each
            for name, each in complete.passed.items()
        }
        return replace(complete, passed=passed)


def _as_image(passed: Passed) -> Passed:
    source = None if passed.source is None else _of_one_pixel(passed.source)
    return replace(passed, source=source, dequantized=_of_one_pixel(passed.dequantized))


def _of_one_pixel(array: Array) -> Array:
    return array[:, :, None, None]
