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
from trtqat.export.batch_dimension import check_batch_first
from trtqat.export.finishing import finish, serialize
from trtqat.export.options import Exporter, ExportOptions, ExportResult
from trtqat.export.precision import check_opset, in_precision
from trtqat.export.quantized_input import check_quantized_input, with_quantized_inputs
from trtqat.export.tracing import trace
from trtqat.export.verification import Example, locate_first_difference, verify
from trtqat.files import check_writable
from trtqat.graph import QUANTIZERS
from trtqat.graph.canonical import canonicalize
from trtqat.graph.expand_fake_quantize import ExpandedPairs
from trtqat.graph.improve import improve
from trtqat.graph.name_outputs import name_outputs
from trtqat.quant.absence import check_has_active, check_not_converted
from trtqat.quant.module_by_module import module_by_module
from trtqat.quant.quantizers import quantizers_of, read_quantizers, replaced_quantizers
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
    _check_layers(model)
    check_not_converted(model)
    inputs = sampling.order_inputs(model, options.inputs)
    with quiet_toolkit(), module_by_module(compiled=True):
        idle = _IdleQuantizers(model, inputs, options)
        quantizers = read_quantizers(model, idle.found)
        if not isinstance(model, torch.jit.ScriptModule):
            check_has_active(model, quantizers)
        active = {n: model.get_submodule(n) for n, each in quantizers.items() if each is not None}
        mixing = [] if options.static_batch else check_batch_first(model, inputs, options.seed)
        runs = [_run(model, active, batch) for batch in _batches(inputs, options)]
        examples = [example for example, _ in runs]
        with replaced_quantizers(model, quantizers) as stand_ins:
            traced, exporter, pairs = _trace(model, examples, options)
            notes = [
                *(note for q in quantizers.values() if q is not None for note in q.notes),
                *pairs.notes,
                *mixing,
                *sampling.notes_on_outputs(model, examples[0].inputs),
                *_check_count(model, pairs, [uses for _, uses in runs], [*idle.names, *active]),
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
            modules = {each: module for each, module, _ in quantizers_of(self._model)}
            try:
                sampling.observe(self._model, modules, self._batch, lambda each, _: runs.add(each))
            except TrtqatError:
                self._runs.update(modules)  # what is wrong with a quantizer may be why
        if name not in self._runs:
            self.names.append(name)
        return name not in self._runs


def _batches(inputs: list[TensorSpec], options: ExportOptions) -> list[sampling.Samples]:
    """Samples of each batch size; those to trace first."""
    sizes = [None] if options.static_batch else [_TRACED_BATCH, 1, _OTHER_BATCH]
    return [
        sampling.make_samples(inputs, size, options.seed + number)
        for number, size in enumerate(sizes)
    ]


def _run(
    model: torch.nn.Module, quantizers: Mapping[str, torch.nn.Module], batch: sampling.Samples
) -> tuple[Example, Counter[str]]:
    """The outputs of the model as its toolkit quantizes it, and how often each quantizer ran."""
    uses: Counter[str] = Counter()
    outputs = sampling.observe(model, quantizers, batch, lambda name, _: uses.update([name]))
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
                examples[0].inputs,
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
            traced, pairs = canonicalize(traced, opset=options.opset)
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


def _check_count(
    model: torch.nn.Module, pairs: ExpandedPairs, runs: list[Counter[str]], names: list[str]
) -> list[str]:
    """Every quantizer that ran became its Q/DQ pairs, and none has pairs that did not run.

    Fewer pairs than uses are right where two uses are one computation: both exporters merge
    them, as for the weight of a layer that runs twice.

    Args:
        model: Module or ScriptModule.
        pairs: What the graph has.
        runs: How often each quantizer ran in each run that the graph is compared with.
        names: Every quantizer that is not disabled.
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
    for uses in runs:
        for name in names:
            _check_uses(name, uses[name], runs[0][name], pairs.uses.get(name, 0))
    unused = [name for name in names if not runs[0][name]]
    if unused:
        return [f"{len(unused)} quantizers never run, as '{unused[0]}': no Q/DQ pair for them."]
    return []


def _check_uses(name: str, uses: int, uses_traced: int, pairs: int) -> None:
    """Compares how often one quantizer ran with its pairs in the graph."""
    if pairs and not uses:
        raise ExportError(
            f"Quantizer '{name}' has a Q/DQ pair in the graph, but did not run in the model that "
            "the graph is compared with.",
            "Something computes its layer without calling it: a fused or compiled form, or a "
            "branch that depends on the input; call the layer itself, or disable the quantizer.",
        )
    if uses != uses_traced:
        raise ExportError(
            f"Quantizer '{name}' runs {uses_traced} times for one batch and {uses} times for "
            "another, but a graph does always the same.",
            "Make forward take one way for every input, or export with --static-batch.",
        )
    if uses and not 1 <= pairs <= uses:
        raise ExportError(
            f"Quantizer '{name}' runs {uses} times, but became {pairs} Q/DQ pairs.",
            "Its result may be unused; try the other --exporter, or disable it.",
        )


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
