"""From a model to the canonical graph: explicit Q/DQ in FP32, outputs by the model's own names."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import onnx_ir as ir
import torch

from trtqat.errors import ExportError
from trtqat.exporting.open_dimensions import open_outputs
from trtqat.exporting.options import Exporter, ExportOptions
from trtqat.exporting.samples import as_tensors
from trtqat.exporting.tracing import trace
from trtqat.exporting.verification.example import Example
from trtqat.graph.passes.canonical_graph import canonicalize
from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs
from trtqat.graph.passes.name_outputs import name_outputs

_LOG = logging.getLogger(__name__)


def traced_graph(
    model: torch.nn.Module, examples: Sequence[Example], options: ExportOptions
) -> tuple[ir.Model, str, ExpandedPairs]:
    """Traces a model by the first exporter whose graph the canonical form can be made of.

    Args:
        model: In eval mode, its quantizers replaced.
        examples: Batches with what the model returned; the first one is traced, the others tell
            which outputs have the batch as their first dimension.
        options: Of the export.

    Returns:
        FP32 graph with Q/DQ, a sentence on which exporter made it, and the pairs that were made.

    Raises:
        ExportError: No exporter could translate the model, or not into that opset.
        UsageError: The exporter asked for does not write that opset.
        QuantizerError: A TorchScript quantizer has no Q/DQ equivalent.
    """
    sizes = [{name: y.shape[:1] for name, y in each.outputs.items()} for each in examples]
    outputs = {
        name: first == (examples[0].batch_size,) and any(each[name] != first for each in sizes)
        for name, first in sizes[0].items()
    }
    attempts: tuple[Exporter, ...] = (options.exporter,)
    if options.exporter == "auto":
        attempts = ("auto", "torchscript")
    first: ExportError | None = None
    for attempt in attempts:
        try:
            traced, exporter = trace(
                model,
                as_tensors(examples[0].inputs),
                outputs,
                opset=options.opset,
                dynamic_batch=not options.static_batch,
                dynamic=options.dynamic,
                open_outputs=open_outputs(
                    [each.outputs for each in examples] if options.dynamic else []
                ),
                exporter=attempt,
            )
        except ExportError as error:
            if first is None:
                raise
            # The first exporter could do it, but for the opset.
            raise ExportError(
                first.problem,
                "Give --opset 18, which TensorRT 10 and newer read; the TorchScript exporter has "
                "no form of it either.",
            ) from error
        _LOG.info("Traced with the %s.", exporter)
        try:
            pairs = canonicalize(traced, opset=options.opset)
        except ExportError as error:
            # An operator of opset 18 that has no form in 17 may have one from the other exporter.
            if attempt != attempts[-1] and not exporter.startswith("TorchScript"):
                first = error
                _LOG.warning("%s Falling back to the TorchScript exporter.", error.problem)
                continue
            raise
        name_outputs(traced, list(outputs))
        return traced, exporter, pairs
    raise AssertionError("the last attempt returns or raises")
