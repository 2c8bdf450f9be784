"""Proof that a graph computes what the fake-quantized model does, before it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trtqat.exporting.verification.agreement import MIN_SQNR_DB, Agreement, verify
from trtqat.exporting.verification.example import Example, Words
from trtqat.exporting.verification.pieces import FP32
from trtqat.graph_file.serialized import Serialized

_WORDS = Words(
    "The graph",
    "the fake-quantized model",
    "Try the other --exporter; if that differs too, switch passes off: --keep-batch-norm, "
    "--float-weights, no --repair.",
)


def verify_export(
    graph: Serialized,
    examples: Sequence[Example],
    complete: Callable[[Example], Example],
    *,
    min_sqnr_db: float = MIN_SQNR_DB,
) -> Agreement:
    """Runs a graph on ONNX Runtime, as written, against what the model returned.

    Args:
        graph: Serialized ONNX model.
        examples: Batches of different sizes with what to expect.
        complete: Gives an example that falls short end to end what passed the quantizers.
        min_sqnr_db: Least SQNR end to end, below which the pieces decide (``verify``).

    Raises:
        ExportError: An output has another shape, or is another one; or the model returns NaN.
    """
    return verify(
        graph, examples, _WORDS, tolerance=FP32, min_sqnr_db=min_sqnr_db, complete=complete
    )
