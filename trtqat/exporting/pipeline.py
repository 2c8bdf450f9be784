"""``export_onnx``: from a fake-quantized PyTorch model to a verified ONNX file.

read the quantizers → run the model (what to expect) → put FakeQuantize in their place
→ trace → canonical graph → check the Q/DQ pairs → improve (fold, INT8 weights, repairs)
→ verify with ONNX Runtime → (FP16 graph, or INT8 inputs) → lint → write
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import torch

from trtqat.errors import ExportError, GraphError, InferenceError, SourceError
from trtqat.exporting.batches import in_batches, read_samples
from trtqat.exporting.check_model import check_finite_parameters, check_float32, check_layers
from trtqat.exporting.check_pairs import check_pairs
from trtqat.exporting.computed_weights import computed_weights
from trtqat.exporting.find_quantizers import find_quantizers
from trtqat.exporting.finishing import VerifiedGraph, check_can_finish, finish
from trtqat.exporting.given_inputs import given_alone
from trtqat.exporting.held_weights import held_weights
from trtqat.exporting.hidden_quantizers import no_hidden_quantizers
from trtqat.exporting.model_reference import (
    ModelReference,
    batches_of_model,
    check_repeats,
    check_replaced,
    first_run,
    run_quantized,
)
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.pixels import check_inputs, improve_options, notes_on_weights
from trtqat.exporting.quantizer_calls import is_read
from trtqat.exporting.samples import as_tensors, order_inputs, run_model
from trtqat.exporting.traced_graph import traced_graph
from trtqat.exporting.verification.example import Example
from trtqat.exporting.verification.pieces import FP32
from trtqat.exporting.verification.verify import verify
from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs
from trtqat.graph.passes.improvements import improve
from trtqat.graph_file.serialized import serialize, temporary_graphs
from trtqat.provenance import Provenance
from trtqat.quant.has_values import check_plain_weights
from trtqat.quant.kept_state import buffers_kept, evaluated
from trtqat.quant.module_by_module import module_by_module
from trtqat.quant.placing.call_sites import Sites, at_sites, learned_sites
from trtqat.quant.placing.interception import OtherCallsError
from trtqat.quant.recipe import unwrapped
from trtqat.quant.toolkits.absence import check_has_active, check_not_converted
from trtqat.quant.toolkits.replacement import replaced_quantizers
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.tensors import Arrays, TensorSpec
from trtqat.user_code import user_code


@temporary_graphs()
def export_onnx(
    model: torch.nn.Module,
    output: Path | str,
    options: ExportOptions,
    *,
    provenance: Provenance | None = None,
) -> ExportResult:
    """Exports a fake-quantized model as ONNX with explicit Q/DQ.

    Args:
        model: Calibrated and fine-tuned, on the CPU in float32. It runs in eval mode with its
            quantizers replaced, and is afterwards as it was, buffers and modes too. Of a
            DataParallel, AveragedModel or compiled model the one inside is exported.
        output: The file to write.
        options: What to write, and for which inputs.
        provenance: Kept in the file's metadata, from where the manifest of an engine takes it.

    Raises:
        SourceError: The inputs do not fit the model, or it is not in float32 or has no active
            quantizer.
        DataError: The data is missing or damaged, or does not fit the inputs.
        QuantizerError: A quantizer has no exact Q/DQ equivalent.
        ExportError: The model cannot be traced, or the graph does not compute the same.
        UsageError: An option is wrong, or the file cannot be written.
    """
    start = time.monotonic()
    output = Path(output)
    check_can_finish(output, options)
    model = unwrapped(model)
    with contextlib.ExitStack() as stack:
        with user_code("The model", SourceError, "It must be one that can be put into eval mode."):
            stack.enter_context(evaluated(model))
        check_float32(model)
        check_layers(model)
        check_not_converted(model)
        check_plain_weights(model, SourceError)
        inputs = order_inputs(model, options.inputs)
        stack.enter_context(given_alone(model, [each.name for each in inputs]))
        check_inputs(inputs, options.pixels)
        samples = read_samples(options.data, inputs, options.pixels)
        for context in (quiet_toolkit(), module_by_module(compiled=True), buffers_kept(model)):
            stack.enter_context(context)
        verified = _trace_and_verify(model, inputs, samples, options, provenance or Provenance())
    return finish(verified, output, options, start=start)


def _trace_and_verify(
    model: torch.nn.Module,
    inputs: list[TensorSpec],
    samples: Arrays,
    options: ExportOptions,
    provenance: Provenance,
) -> VerifiedGraph:
    static = options.static_batch
    found = find_quantizers(model, inputs, static_batch=static, seed=options.seed)
    check_finite_parameters(model, [name for name, each in found.all.items() if each is None])
    check_has_active(model, found.all)
    with no_hidden_quantizers(model):
        first, mixing = first_run(model, inputs, found, samples, options)
    batches, notes = batches_of_model(inputs, first, samples, options)
    with learned_sites() as sites:
        examples, uses = run_quantized(model, found, batches)
    with replaced_quantizers(model, found.all) as stand_ins:
        run_again = functools.partial(run_model, model, as_tensors(examples[0].inputs))
        with computed_weights(model, run_again):
            graph, exporter, pairs = _traced(model, examples, options, sites)
            with held_weights(graph, pairs, model, stand_ins, run_again) as are_held:
                if are_held:
                    graph, exporter, pairs = _traced(model, examples, options, sites)
        notes += [
            *found.notes,
            *pairs.notes,
            *mixing,
            *first.notes,
            *notes_on_weights(options, graph.graph),
            *check_pairs(
                model,
                pairs,
                uses,
                [*found.idle, *found.active],
                lambda names: is_read(model, names, as_tensors(examples[0].inputs)),
            ),
        ]
        improvements = improve(graph, improve_options(options, graph.graph), opset=options.opset)
        reference = ModelReference(model, examples, stand_ins, found.all, pairs)
        try:
            verification = verify(serialize(graph), reference, min_sqnr_db=options.min_sqnr_db)
        except (GraphError, InferenceError) as error:
            raise ExportError(error.problem, _way_out(exporter)) from error
        except ExportError:
            check_repeats(model, examples[0].inputs)
            raise
        is_far = verification.sqnr_db < FP32.least_db
        if mixing or is_far:
            # What looks like amplified rounding, or like samples that depend on each other, may be
            # a model that returns something else each time.
            check_repeats(model, examples[0].inputs)
    if is_far and found.active:
        # Or one that takes another way where it sees stand-ins, as the graph does then.
        check_replaced(model, found.all, examples[0].inputs)
    return VerifiedGraph(
        graph,
        batches=[*batches, *in_batches(samples, examples[0].batch_size if static else None)],
        provenance=replace(provenance, exporter=exporter, quantizers=tuple(pairs.uses)),
        exporter=exporter,
        quantizers=len(found.active) or pairs.count,
        disabled=found.disabled,
        pairs=pairs.count,
        improvements=improvements,
        verification=verification,
        notes=notes,
        returned=list(examples[0].outputs),
    )


def _traced(
    model: torch.nn.Module, examples: Sequence[Example], options: ExportOptions, sites: Sites
) -> tuple[ir.Model, str, ExpandedPairs]:
    try:
        return traced_graph(model, examples, options)
    except (ExportError, OtherCallsError) as error:
        if not _is_of_other_calls(error):
            raise
        first = error
    # What it keeps of its first run, as a grid, may be made anew in a trace.
    try:
        with at_sites(sites):
            return traced_graph(model, examples, options)
    except (ExportError, OtherCallsError) as error:
        if not _is_of_other_calls(error):
            raise
    # The numbers of the second one are without the calls that it leaves out.
    raise first


def _is_of_other_calls(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, OtherCallsError):
        error = error.__cause__
    return error is not None


def _way_out(exporter: str) -> str:
    """What to try where a traced graph does not run."""
    if not exporter.startswith("TorchScript"):
        return "Try --exporter torchscript."
    return (
        "A traced graph does for every batch what forward did for one: write x.shape[0] for "
        "len(x), try --static-batch, or leave out of forward what depends on values, as the choice "
        "of boxes in a detector."
    )
