"""``improve_onnx``: an ONNX file that has its Q/DQ already goes through the same passes.

read → tidy → standard pairs → improve (fold, INT8 weights, repairs) → compare with
the file on ONNX Runtime → lint → write
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import onnx_ir as ir

from trtqat.errors import GraphError, UsageError
from trtqat.exporting.finishing import VerifiedGraph, check_can_finish, finish
from trtqat.exporting.graph_batches import batches_of_graph
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.pixels import improve_options, notes_on_weights, recorded_pixels
from trtqat.exporting.quantized_input import codes_of
from trtqat.exporting.verification.reference import OF_GRAPH, GraphReference
from trtqat.exporting.verification.verify import verify
from trtqat.files import weights_beside
from trtqat.graph.editing import write_ranks
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.finite import check_finite
from trtqat.graph.lenses.pairs import DEQUANTIZE, PAIR, parameters_of
from trtqat.graph.lenses.targets import NEWEST_OPSET_OF_8_6, is_for_8_6
from trtqat.graph.passes.improvements import improve
from trtqat.graph.passes.lower_opset import LOWERABLE_OPSET, lower_opset, write_ir_version
from trtqat.graph.passes.name_nodes import name_unnamed
from trtqat.graph.passes.protocol import run
from trtqat.graph.passes.standard_pairs import standardize_pairs
from trtqat.graph.passes.tidy import tidy
from trtqat.graph.runnable import (
    inline_plugins,
    notes_on_plugins,
    plugins_of,
    serialize_runnable,
)
from trtqat.graph_file.hashing import graph_sha256
from trtqat.graph_file.reading import external_files, read_model
from trtqat.graph_file.serialized import temporary_graphs
from trtqat.provenance import Provenance
from trtqat.tensors import specs_by_name


@temporary_graphs()
def improve_onnx(source: Path | str, output: Path | str, options: ExportOptions) -> ExportResult:
    """Improves a Q/DQ graph that some other tool wrote.

    Args:
        source: ONNX file, FP32 with explicit Q/DQ.
        output: The file to write.
        options: ``inputs`` are needed only for inputs with open dimensions besides the
            first; ``exporter`` and ``static_batch`` say nothing here.

    Raises:
        GraphError: It is not ONNX, has no Q/DQ, or ONNX Runtime does not run it.
        SourceError: A shape is not known, or an input does not exist.
        ExportError: The improved graph computes something else.
        UsageError: The file cannot be written, or codes were to become FP16.
    """
    start = time.monotonic()
    source, output = Path(source), Path(output)
    check_can_finish(output, options)
    model = _read(source, output)
    codes = codes_of(model, options)
    recorded = recorded_pixels(model)
    inline_plugins(model)
    name_unnamed(model)  # by which the pairs of both graphs are known as the same
    original = serialize_runnable(model)
    batches, notes = batches_of_graph(model, options)
    write_ranks(model.graph, specs_by_name(options.inputs))
    tidy(model)
    floats = ", where nothing becomes FP16" if options.precision == "fp16" else ""
    notes += [
        *notes_on_plugins(plugins_of(model), floats),
        *_standardize(model, options.opset),
        *notes_on_weights(options, model.graph),
    ]
    if options.precision == "fp16":
        _check_scales(source, model)
    pairs = sum(node.op_type == DEQUANTIZE for node in model.graph)
    target = max(model.graph.opset_imports[""], options.opset)
    improving = improve_options(options, model.graph)
    improvements = improve(model, improving, opset=target)
    verification = verify(
        serialize_runnable(model),
        GraphReference(original, batches, OF_GRAPH),
        min_sqnr_db=options.min_sqnr_db,
    )
    verified = VerifiedGraph(
        model,
        batches=batches,
        provenance=Provenance(
            source=source.name, source_sha256=graph_sha256(source), exporter="ONNX file"
        ),
        exporter="passes of trtqat from an ONNX file",
        quantizers=pairs,
        disabled=0,
        pairs=pairs,
        improvements=improvements,
        verification=verification,
        notes=notes,
        codes=codes,
        pixels=recorded,
    )
    return finish(verified, output, options, start=start)


def _read(source: Path, output: Path) -> ir.Model:
    """Reads a graph that the passes can work on."""
    model = read_model(source)
    _check_not_read(source, output)
    inside = (node for function in model.functions.values() for node in function)
    if not any(node.op_type in PAIR for node in (*model.graph, *inside)):
        raise GraphError(
            f"'{source}' has no QuantizeLinear and DequantizeLinear nodes.",
            "Give a graph with explicit Q/DQ, as trtqat quantize makes of a float one, or the "
            "fake-quantized PyTorch model.",
        )
    _check_float32(source, model)
    check_finite(source, model.graph)
    return model


def _standardize(model: ir.Model, opset: int) -> list[str]:
    """Brings a tidy graph into the form that the passes take; tells what that changed."""
    name_unnamed(model)
    return [*_set_opset(model, opset), *standardize_pairs(model)]


def _check_not_read(source: Path, output: Path) -> None:
    """Refuses to write weights over those that are read, which another graph may need too."""
    weights, read = weights_beside(Path(os.path.realpath(output))), external_files(source)
    if output.exists() and any(output.samefile(each) for each in read):
        raise UsageError(
            f"'{output}' holds weights of '{source}'.", "Choose another name for the output."
        )
    if weights.exists() and any(weights.samefile(each) for each in read):
        raise UsageError(
            f"'{weights}' holds the weights of '{source}', and '{output}' may need that name for "
            "its own.",
            "Choose another name for the output.",
        )


def _check_float32(source: Path, model: ir.Model) -> None:
    for node in model.graph:
        scale = node.inputs[1] if node.op_type in PAIR else None
        if scale is not None and scale.dtype not in (None, ir.DataType.FLOAT):
            raise GraphError(
                f"'{source}' has scales in {scale.dtype.name}, as '{scale.name}'; the passes "
                "work on FP32 graphs.",
                "Give the FP32 graph, with --precision fp16 if the result is to be FP16.",
            )


def _check_scales(source: Path, model: ir.Model) -> None:
    for node in model.graph:
        if node.op_type in PAIR and parameters_of(node).scale is None:
            raise GraphError(
                f"The scale of '{name_of(node)}' in '{source}' is computed while the graph runs, "
                "and what FP16 makes of it is not known.",
                "Calibrate that quantizer and keep its range fixed, or leave out --precision fp16.",
            )


def _set_opset(model: ir.Model, opset: int) -> list[str]:
    """Lowers a graph of opset 18 to 17 if that was asked for; tells what cannot be lowered."""
    present = model.graph.opset_imports.get("", 0)
    if is_for_8_6(opset) and present == LOWERABLE_OPSET:
        run((lower_opset, write_ir_version), model)
        present = NEWEST_OPSET_OF_8_6
    if present > opset:
        return [
            f"The graph keeps its opset {present}: only opset {LOWERABLE_OPSET} can be lowered, "
            f"to {NEWEST_OPSET_OF_8_6}."
        ]
    return []
