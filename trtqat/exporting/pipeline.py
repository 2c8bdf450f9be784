"""``export_onnx``: from a fake-quantized PyTorch model to a verified ONNX file.

read the quantizers → run the model (what to expect) → put FakeQuantize in their place
→ trace → canonical graph → count the Q/DQ pairs → improve (fold, INT8 weights, repairs)
→ verify with ONNX Runtime → (FP16 graph, or INT8 inputs) → lint → write
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

from trtqat.errors import ExportError, SourceError, TrtqatError
from trtqat.exporting import samples as sampling
from trtqat.exporting.batch_dimension import check_batch_first
from trtqat.exporting.batches import (
    in_batches,
    notes_on_ranges,
    random_batch,
    read_samples,
    sized,
    taken,
)
from trtqat.exporting.counting import check_count
from trtqat.exporting.finishing import finish
from trtqat.exporting.finite import check_finite_parameters
from trtqat.exporting.options import Exporter, ExportOptions, ExportResult
from trtqat.exporting.precision import check_opset, in_precision
from trtqat.exporting.quantized_input import check_quantized_input, with_quantized_inputs
from trtqat.exporting.recording import (
    checked_quantizers,
    input_amaxes,
    passed_at,
    recorded_calls,
)
from trtqat.exporting.tracing import trace
from trtqat.exporting.verification.example import Example
from trtqat.exporting.verification.words import verify_export
from trtqat.files import check_writable
from trtqat.graph.passes.canonical_graph import canonicalize
from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs
from trtqat.graph.passes.improvements import improve
from trtqat.graph.passes.name_outputs import name_outputs
from trtqat.graph_file.serialized import serialize, temporary_graphs
from trtqat.provenance import QUANTIZERS
from trtqat.quant.absence import check_has_active, check_not_converted
from trtqat.quant.module_by_module import module_by_module
from trtqat.quant.quantizers import Quantizer, quantizers_of, read_quantizers, replaced_quantizers
from trtqat.quant.silence import quiet_toolkit
from trtqat.tensors import Array, Arrays, TensorSpec
from trtqat.user_code import user_code

__all__ = ["ExportOptions", "ExportResult", "export_onnx"]

_LOG = logging.getLogger(__name__)

# The batch for tracing and the second one for verifying; 1 is verified as well.
_TRACED_BATCH = 2
_OTHER_BATCH = 3


@temporary_graphs()
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
    with user_code("The model", SourceError, "It must be one that can be put into eval mode."):
        model.eval()
    _check_float32(model)
    _check_layers(model)
    check_not_converted(model)
    inputs = sampling.order_inputs(model, options.inputs)
    samples = read_samples(options.data, inputs)
    with quiet_toolkit(), module_by_module(compiled=True):
        idle = _IdleQuantizers(model, inputs, options)
        quantizers = read_quantizers(model, idle.found)
        check_finite_parameters(model)
        if not isinstance(model, torch.jit.ScriptModule):
            check_has_active(model, quantizers)
        active = {n: model.get_submodule(n) for n, each in quantizers.items() if each is not None}
        mixing = [] if options.static_batch else check_batch_first(model, inputs, options.seed)
        batches, notes = _batches(model, inputs, quantizers, samples, options)
        with checked_quantizers(model, quantizers):
            runs = [_run(model, active, batch) for batch in batches]
        examples = [example for example, _ in runs]
        with replaced_quantizers(model, quantizers) as stand_ins:
            traced, exporter, pairs = _trace(model, examples, options)
            notes += [
                *(note for q in quantizers.values() if q is not None for note in q.notes),
                *pairs.notes,
                *mixing,
                *sampling.notes_on_outputs(model, sampling.as_tensors(batches[0])),
                *check_count(model, pairs, [uses for _, uses in runs], [*idle.names, *active]),
            ]
            improvements = improve(traced, options.improve, opset=options.opset)

            def complete(example: Example) -> Example:
                with recorded_calls(model, stand_ins) as calls:
                    outputs = sampling.run_model(model, sampling.as_tensors(example.inputs))
                return Example(example.inputs, outputs, passed_at(pairs, calls, quantizers))

            verification = verify_export(
                serialize(traced), examples, complete, min_sqnr_db=options.min_sqnr_db
            )
    fixed = examples[0].batch_size if options.static_batch else None
    batches += in_batches(samples, fixed)
    traced, half = in_precision(traced, options, batches)
    recorded = with_quantized_inputs(traced, options, batches)
    return finish(
        traced,
        output,
        {**(provenance or {}), "exporter": exporter, QUANTIZERS: list(pairs.uses), **recorded},
        start=start,
        exporter=exporter,
        quantizers=len(active) or pairs.count,
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
        self._batch = sampling.random_samples(inputs, size, options.seed)

    def found(self, name: str) -> bool:
        """Whether the model runs without it, by running the model at the first such question."""
        if self._runs is None:
            self._runs = runs = set[str]()
            modules = {each: module for each, module, _ in quantizers_of(self._model)}
            try:
                sampling.observe(self._model, modules, self._batch, lambda each, _: runs.add(each))
            except TrtqatError:
                self._runs.update(modules)  # what is wrong with a quantizer may be why
        if name not in self._runs:
            self.names.append(name)
        return name not in self._runs


def _batches(
    model: torch.nn.Module,
    inputs: list[TensorSpec],
    quantizers: Mapping[str, Quantizer | None],
    samples: Arrays,
    options: ExportOptions,
) -> tuple[list[dict[str, Array]], list[str]]:
    """Batches of each size, those to trace first, and notes on them."""
    specs = [
        sized(inputs, size)
        for size in ([None] if options.static_batch else [_TRACED_BATCH, 1, _OTHER_BATCH])
    ]
    if samples:
        counts = [each[0].shape[0] for each in specs]
        ends = list(itertools.accumulate(counts))
        return [taken(samples, end - n, n) for end, n in zip(ends, counts, strict=True)], []
    probe = random_batch(specs[0], options.seed)
    active = [name for name, each in quantizers.items() if each is not None]
    with recorded_calls(model, active) as calls:
        sampling.run_model(model, sampling.as_tensors(probe))
    amaxes = input_amaxes(probe, calls, quantizers)
    notes = notes_on_ranges(inputs, amaxes) if options.precision == "fp16" else []
    return [
        random_batch(each, options.seed + number, amaxes) for number, each in enumerate(specs)
    ], notes


def _run(
    model: torch.nn.Module, quantizers: Mapping[str, torch.nn.Module], batch: Arrays
) -> tuple[Example, Counter[str]]:
    """The outputs of the model as its toolkit quantizes it, and how often each quantizer ran."""
    uses: Counter[str] = Counter()
    samples = sampling.as_tensors(batch)
    outputs = sampling.observe(model, quantizers, samples, lambda name, _: uses.update([name]))
    return Example(batch, outputs), uses


def _trace(
    model: torch.nn.Module, examples: list[Example], options: ExportOptions
) -> tuple[ir.Model, str, ExpandedPairs]:
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
                sampling.as_tensors(examples[0].inputs),
                outputs,
                opset=options.opset,
                dynamic_batch=not options.static_batch,
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


def _check_float32(model: torch.nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise SourceError(
                f"Parameter '{name}' is {str(parameter.dtype).removeprefix('torch.')}; the graph "
                "is written in float32.",
                "Convert the model with .float() in its factory.",
            )


def _check_layers(model: torch.nn.Module) -> None:
    """Refuses what both exporters translate into a graph that no runtime accepts."""
    for name, module in model.named_modules():
        if type(module) is torch.nn.LSTM and module.proj_size:
            raise SourceError(
                f"Layer '{name}' is an LSTM with projections (proj_size={module.proj_size}), which "
                "ONNX's LSTM has not.",
                "Train it with proj_size=0, or write the recurrence with torch.nn.LSTMCell and a "
                "Linear layer.",
            )
