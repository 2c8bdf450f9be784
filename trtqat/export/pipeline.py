"""``export_onnx``: from a fake-quantized PyTorch model to a verified ONNX file.

read the quantizers → run the model (what to expect) → put FakeQuantize in their place
→ trace → canonical graph → count the Q/DQ pairs → improve (fold, INT8 weights, repairs)
→ verify with ONNX Runtime → (FP16 graph, or INT8 inputs) → lint → write
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

from trtqat.errors import ExportError, SourceError, TrtqatError
from trtqat.export import samples as sampling
from trtqat.export.finishing import finish, serialize
from trtqat.export.options import Exporter, ExportOptions, ExportResult
from trtqat.export.precision import check_opset, in_precision
from trtqat.export.quantized_input import check_quantized_input, with_quantized_inputs
from trtqat.export.tracing import trace
from trtqat.export.verification import Example, locate_first_difference, verify
from trtqat.files import check_writable
from trtqat.graph.canonical import canonicalize
from trtqat.graph.expand_fake_quantize import ExpandedPairs
from trtqat.graph.improve import improve
from trtqat.quant.operator import FakeQuantize
from trtqat.quant.quantizers import read_quantizers, replaced_quantizers
from trtqat.quant.silence import quiet_toolkit
from trtqat.tensors import TensorSpec

__all__ = ["ExportOptions", "ExportResult", "export_onnx"]

_LOG = logging.getLogger(__name__)

# The batch for tracing and the second one for verifying; 1 is verified as well.
_TRACED_BATCH = 2
_OTHER_BATCH = 3


def export_onnx(
    model: torch.nn.Module,
    output: Path | str,
    options: ExportOptions,
    *,
    provenance: Mapping[str, Any] | None = None,
) -> ExportResult:
    """Exports a fake-quantized model as ONNX with explicit Q/DQ.

    Args:
        model: Calibrated and fine-tuned, on the CPU in float32; put into eval mode. Its
            quantizers are replaced while it is traced and restored afterwards.
        output: The file to write.
        options: See ``ExportOptions``.
        provenance: Kept in the file's metadata, from where the manifest of an engine takes it.

    Raises:
        SourceError: The inputs do not fit the model, or it is not in float32.
        QuantizerError: A quantizer has no exact Q/DQ equivalent.
        ExportError: The model cannot be traced, or the graph does not compute the same.
        UsageError: The file cannot be written.
    """
    start = time.monotonic()
    output = Path(output)
    check_writable(output)
    check_opset(options.opset, options.precision)
    check_quantized_input(options)
    model.eval()
    _check_float32(model)
    inputs = sampling.order_inputs(model, options.inputs)
    with quiet_toolkit():
        idle = _IdleQuantizers(model, inputs, options)
        quantizers = read_quantizers(model, idle.found)
        examples = _examples(model, inputs, options)
        with replaced_quantizers(model, quantizers) as stand_ins:
            traced, exporter, pairs = _trace(model, examples, options)
            notes = [
                *(note for q in quantizers.values() if q is not None for note in q.notes),
                *pairs.notes,
                *_check_count(model, stand_ins, pairs, examples[0], idle.names),
            ]
            improvements = improve(traced, options.improve, opset=options.opset)
            graph = serialize(traced)
            verification = verify(
                graph,
                examples,
                model,
                lambda example: locate_first_difference(
                    graph, model, stand_ins, pairs.dequantized, example
                ),
                min_sqnr_db=options.min_sqnr_db,
            )
    batches = [{name: x.numpy() for name, x in each.inputs.items()} for each in examples]
    traced, half = in_precision(traced, options, batches)
    recorded = with_quantized_inputs(traced, options, batches)
    return finish(
        traced,
        output,
        {**(provenance or {}), "exporter": exporter, **recorded},
        start=start,
        exporter=exporter,
        quantizers=len(stand_ins) or pairs.count,
        disabled=sum(quantizer is None for quantizer in quantizers.values()) - len(idle.names),
        pairs=pairs.count,
        improvements=improvements,
        half=half,
        verification=verification,
        notes=notes,
        returned=list(examples[0].outputs),
    )


class _IdleQuantizers:
    """Quantizers that cannot be exported and need not be, because the model never runs them.

    Attributes:
        names: Those that were found.
    """

    def __init__(
        self, model: torch.nn.Module, inputs: list[TensorSpec], options: ExportOptions
    ) -> None:
        self.names: list[str] = []
        self._model = model
        self._runs: set[str] | None = None
        size = None if options.static_batch else _TRACED_BATCH
        self._batch = sampling.make_samples(inputs, size, options.seed)

    def found(self, name: str) -> bool:
        """Whether the model runs without it, by running the model at the first such question."""
        if self._runs is None:
            self._runs = runs = set[str]()
            modules = dict(self._model.named_modules())
            try:
                sampling.observe(self._model, modules, self._batch, lambda each, _: runs.add(each))
            except TrtqatError:
                self._runs.update(modules)  # what is wrong with a quantizer may be why
        if name not in self._runs:
            self.names.append(name)
        return name not in self._runs


def _examples(
    model: torch.nn.Module, inputs: list[TensorSpec], options: ExportOptions
) -> list[Example]:
    """Batches with the outputs of the model as its toolkit quantizes it; the traced one first."""
    sizes = [None] if options.static_batch else [_TRACED_BATCH, 1, _OTHER_BATCH]
    examples = []
    for number, size in enumerate(sizes):
        batch = sampling.make_samples(inputs, size, options.seed + number)
        examples.append(Example(batch, sampling.run_model(model, batch)))
    return examples


def _trace(
    model: torch.nn.Module, examples: list[Example], options: ExportOptions
) -> tuple[ir.Model, str, ExpandedPairs]:
    names = list(examples[0].outputs)
    attempts: tuple[Exporter, ...] = (options.exporter,)
    if options.exporter == "auto":
        attempts = ("auto", "torchscript")
    for attempt in attempts:
        traced, exporter = trace(
            model,
            examples[0].inputs,
            names,
            opset=options.opset,
            dynamic_batch=not options.static_batch,
            exporter=attempt,
        )
        _LOG.info("Traced with the %s.", exporter)
        try:
            traced, pairs = canonicalize(traced, opset=options.opset)
        except ExportError as error:
            # An operator of opset 18 that has no form in 17 may have one from the other exporter.
            if attempt != attempts[-1] and not exporter.startswith("TorchScript"):
                _LOG.warning("%s Falling back to the TorchScript exporter.", error.problem)
                continue
            raise
        return traced, exporter, pairs
    raise AssertionError("the last attempt returns or raises")


def _check_count(
    model: torch.nn.Module,
    stand_ins: Mapping[str, FakeQuantize],
    pairs: ExpandedPairs,
    example: Example,
    idle: list[str],
) -> list[str]:
    """Every active quantizer became its Q/DQ pairs; otherwise the export is wrong.

    Fewer pairs than uses are right where two uses are one computation: both exporters merge
    them, as for the weight of a layer that runs twice.
    """
    if pairs.count == 0:
        raise SourceError(
            "The model has no active quantizer, so its engine would not be INT8.",
            "Insert quantizers, calibrate and fine-tune first: trtqat.quant.training does it.",
        )
    if isinstance(model, torch.jit.ScriptModule):
        kinds = [node.kind() for node in model.inlined_graph.nodes()]
        operators = sum("fake_quant" in kind for kind in kinds)
        if pairs.count == operators:
            return []
        return [
            f"{operators} fake-quantize operators became {pairs.count} Q/DQ pairs: equal and "
            "unused ones are left out."
        ]
    uses = _count_uses(model, stand_ins, example)
    for name in uses:
        if not 1 <= pairs.uses.get(name, 0) <= uses[name]:
            raise ExportError(
                f"Quantizer '{name}' runs {uses[name]} times, but became "
                f"{pairs.uses.get(name, 0)} Q/DQ pairs.",
                "Its result may be unused; try the other --exporter, or disable it.",
            )
    unused = [*idle, *(name for name in stand_ins if name not in uses)]
    if unused:
        return [f"{len(unused)} quantizers never run, as '{unused[0]}': no Q/DQ pair for them."]
    return []


def _count_uses(
    model: torch.nn.Module, stand_ins: Mapping[str, FakeQuantize], example: Example
) -> Counter[str]:
    uses: Counter[str] = Counter()
    sampling.observe(model, stand_ins, example.inputs, lambda name, _: uses.update([name]))
    return uses


def _check_float32(model: torch.nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise SourceError(
                f"Parameter '{name}' is {str(parameter.dtype).removeprefix('torch.')}; the graph "
                "is written in float32.",
                "Convert the model with .float() in its factory.",
            )
