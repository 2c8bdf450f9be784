"""``improve_onnx``: an ONNX file that has its Q/DQ already goes through the same passes.

read → tidy → standard pairs → improve (fold, INT8 weights, repairs) → compare with
the file on ONNX Runtime → lint → write
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from trtqat.errors import GraphError, SourceError, UsageError
from trtqat.exporting.batches import in_batches, notes_on_ranges, random_batch, read_samples, taken
from trtqat.exporting.finishing import finish
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.precision import check_opset, in_precision
from trtqat.exporting.quantized_input import check_quantized_input, codes_of, with_quantized_inputs
from trtqat.exporting.verification.agreement import verify_agreement
from trtqat.exporting.verification.example import Words
from trtqat.exporting.verification.pieces import FP32
from trtqat.files import check_writable
from trtqat.graph.lenses.finite import check_finite
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE, parameters_of
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.passes.improvements import improve
from trtqat.graph.passes.lower_opset import lower_opset, write_ir_version
from trtqat.graph.passes.name_nodes import name_unnamed
from trtqat.graph.passes.protocol import run
from trtqat.graph.passes.standard_pairs import standardize_pairs
from trtqat.graph.passes.tidy import tidy
from trtqat.graph_file.hashing import graph_sha256
from trtqat.graph_file.reading import external_files, read_model
from trtqat.graph_file.serialized import serialize, temporary_graphs, weights_beside
from trtqat.tensors import DYNAMIC, Array, TensorSpec, specs_by_name

_BATCH_SIZES = (2, 1, 3)
_WORDS = Words(
    "The improved graph",
    "the graph that it was made of",
    "Switch passes off one by one: --keep-batch-norm, --float-weights, no --repair.",
)


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
    check_writable(output)
    check_opset(options.opset, options.precision)
    check_quantized_input(options)
    model = read_model(source)
    _check_not_read(source, output)
    if not any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in model.graph):
        raise GraphError(
            f"'{source}' has no QuantizeLinear and DequantizeLinear nodes.",
            "Give a graph with explicit Q/DQ, or the fake-quantized PyTorch model.",
        )
    _check_float32(source, model)
    check_finite(source, model.graph)
    codes = codes_of(model, options)
    name_unnamed(model)  # by which the pairs of both graphs are known as the same
    original = serialize(model)
    batches, notes = _batches(model, options)
    tidy(model)
    name_unnamed(model)
    notes += _set_opset(model, options.opset)
    notes += standardize_pairs(model)
    pairs = sum(node.op_type == DEQUANTIZE for node in model.graph)
    target = max(model.graph.opset_imports[""], options.opset)
    improvements = improve(model, options.improve, opset=target)
    agreement = verify_agreement(
        original,
        serialize(model),
        batches,
        min_sqnr_db=options.min_sqnr_db,
        words=_WORDS,
        tolerance=FP32,
    )
    model, half = in_precision(model, options, batches)
    recorded = with_quantized_inputs(model, options, batches, codes)
    return finish(
        model,
        output,
        {
            "source": source.name,
            "source_sha256": graph_sha256(source),
            "exporter": "ONNX file",
            **recorded,
        },
        start=start,
        exporter="passes of trtqat from an ONNX file",
        quantizers=pairs,
        disabled=0,
        pairs=pairs,
        improvements=improvements,
        half=half,
        verification=agreement,
        notes=notes,
    )


def _check_not_read(source: Path, output: Path) -> None:
    """Refuses to write weights over those that are read, which another graph may need too."""
    weights = weights_beside(Path(os.path.realpath(output)))
    if weights.exists() and any(weights.samefile(each) for each in external_files(source)):
        raise UsageError(
            f"'{weights}' holds the weights of '{source}', and '{output}' may need that name for "
            "its own.",
            "Choose another name for the output.",
        )


def _check_float32(source: Path, model: ir.Model) -> None:
    for node in model.graph:
        scale = node.inputs[1] if node.op_type in (QUANTIZE, DEQUANTIZE) else None
        if scale is not None and scale.dtype not in (None, ir.DataType.FLOAT):
            raise GraphError(
                f"'{source}' has scales in {scale.dtype.name}, as '{scale.name}'; the passes "
                "work on FP32 graphs.",
                "Give the FP32 graph, with --precision fp16 if the result is to be FP16.",
            )


def _set_opset(model: ir.Model, opset: int) -> list[str]:
    """Lowers a graph of opset 18 to 17 if that was asked for; tells what cannot be lowered."""
    present = model.graph.opset_imports.get("", 0)
    if opset <= 17 and present == 18:
        run((lower_opset, write_ir_version), model)
        present = 17
    if present > opset:
        return [f"The graph keeps its opset {present}: only opset 18 can be lowered, to 17."]
    return []


def _batches(model: ir.Model, options: ExportOptions) -> tuple[list[dict[str, Array]], list[str]]:
    """Batches of several sizes, or of the one that the graph fixes, and notes on them."""
    shapes = _input_shapes(model, options)
    is_dynamic = any(shape[:1] == (None,) for shape in shapes.values())
    sizes = _BATCH_SIZES if is_dynamic else (1,)
    sized = [_specs(model, shapes, size) for size in sizes]
    if options.data is not None:
        samples = read_samples(options.data, _specs(model, shapes, DYNAMIC))
        fixed = None if is_dynamic else sized[0][0].shape[0]
        first = [taken(samples, sum(sizes[:at]), each[0].shape[0]) for at, each in enumerate(sized)]
        return [*first, *in_batches(samples, fixed)], []
    amaxes = _amaxes(model)
    notes = notes_on_ranges(sized[0], amaxes) if options.precision == "fp16" else []
    return [
        random_batch(each, options.seed + number, amaxes) for number, each in enumerate(sized)
    ], notes


def _input_shapes(model: ir.Model, options: ExportOptions) -> dict[str, tuple[int | None, ...]]:
    given = specs_by_name(options.inputs)
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    unknown = [name for name in given if name not in {value.name for value in inputs}]
    if unknown:
        raise SourceError(
            f"The graph has no input '{unknown[0]}'; it has "
            f"{', '.join(str(value.name) for value in inputs)}.",
            "Use those names.",
        )
    return {str(value.name): _shape(value, given.get(str(value.name))) for value in inputs}


def _specs(
    model: ir.Model, shapes: Mapping[str, tuple[int | None, ...]], size: int
) -> list[TensorSpec]:
    specs = []
    for value in model.graph.inputs:
        if value.name in shapes:
            shape = tuple(size if dim is None else dim for dim in shapes[str(value.name)])
            dtype = np.dtype(np.float32 if value.dtype is None else value.dtype.numpy())
            specs.append(TensorSpec(str(value.name), shape, dtype.name))
    return specs


def _amaxes(model: ir.Model) -> dict[str, float]:
    """The range of each input that a QuantizeLinear reads, maybe moved but unchanged."""
    view = GraphView(model.graph)
    found: dict[str, float] = {}
    for value in model.graph.inputs:
        for node in view.readers(value):
            scale = parameters_of(node).scale if node.op_type == QUANTIZE else None
            if scale is not None and scale.size == 1:
                amax = 127.0 * float(scale.item())
                found[str(value.name)] = max(found.get(str(value.name), 0.0), amax)
    return found


def _shape(value: ir.Value, given: TensorSpec | None) -> tuple[int | None, ...]:
    """The shape of an input, None for an open batch; other open dimensions come from a spec."""
    dims = [dim if isinstance(dim, int) else None for dim in value.shape or ()]
    if given is not None and value.shape is None:
        return (None, *given.shape[1:])
    if given is not None:
        fixed = zip(dims[1:], given.shape[1:], strict=False)
        if len(given.shape) != len(dims) or any(dim not in (None, wish) for dim, wish in fixed):
            raise SourceError(
                f"Input '{value.name}' of the graph is {value.shape}, not {given}.",
                "An ONNX file brings its shapes; give only dimensions that it leaves open.",
            )
        dims = [
            dim if dim is not None or at == 0 else given.shape[at] for at, dim in enumerate(dims)
        ]
    if value.shape is None or any(dim is None for dim in dims[1:]):
        raise SourceError(
            f"The shape of input '{value.name}' is not known: {value.shape}.",
            f"Give it: --input {value.name}:1x3x224x224",
        )
    return tuple(dims)
