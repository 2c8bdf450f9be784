"""The batches that a graph from elsewhere is verified with: as it declares its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from trtqat.data.dataset import is_random
from trtqat.errors import SourceError
from trtqat.exporting.batches import in_batches, notes_on_ranges, random_batch, read_samples, taken
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pixels import check_inputs, recorded_pixels
from trtqat.graph.lenses.pairs import QUANTIZE, parameters_of
from trtqat.graph.lenses.targets import CUT, not_taken
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.passes.take_codes import recorded_scales
from trtqat.pixels import with_pixels
from trtqat.runtime.input_codes import quantize_inputs, with_float_inputs
from trtqat.tensors import DYNAMIC, Array, TensorSpec, specs_by_name

_BATCH_SIZES = (2, 1, 3)


def batches_of_graph(
    model: ir.Model, options: ExportOptions
) -> tuple[list[dict[str, Array]], list[str]]:
    """Batches of several sizes, or of the one that the graph fixes, and notes on them.

    Args:
        model: With explicit Q/DQ, which says how large random inputs are to be.
        options: Of the export: its inputs give the dimensions that the graph leaves open.

    Raises:
        SourceError: A shape is not known, an input does not exist, or one is no tensor.
        DataError: The data does not fit the inputs.
    """
    check_tensors(model.graph)
    shapes = _input_shapes(model, options)
    is_dynamic = any(shape[:1] == (None,) for shape in shapes.values())
    sizes = _BATCH_SIZES if is_dynamic else (1,)
    sized = [_specs(model, shapes, size) for size in sizes]
    check_inputs(sized[0], options.pixels)
    if options.data is not None:
        # What arrives as codes is given as floats, as to eval.
        scales = recorded_scales(model)
        specs = [*with_float_inputs(_specs(model, shapes, DYNAMIC), scales)]
        samples = quantize_inputs(read_samples(options.data, specs, options.pixels), scales)
        fixed = None if is_dynamic else sized[0][0].shape[0]
        first = [taken(samples, sum(sizes[:at]), each[0].shape[0]) for at, each in enumerate(sized)]
        return [*first, *in_batches(samples, fixed)], []
    amaxes = _amaxes(model)
    known = {*amaxes, *options.pixels}
    notes = notes_on_ranges(sized[0], known) if options.precision == "fp16" else []
    return [
        random_batch(each, options.seed + number, amaxes, options.pixels)
        for number, each in enumerate(sized)
    ], notes


def check_tensors(graph: ir.Graph) -> None:
    """Refuses what is no tensor of numbers where a graph begins or ends.

    Raises:
        SourceError: An input is a sequence or an optional one, or an input or output holds strings.
    """
    problem = not_taken(graph)
    if problem:
        raise SourceError(problem, CUT)


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
    # Random data has no size of its own.
    has_sizes = options.data is not None and not is_random(options.data)
    return {
        str(value.name): _shape(value, given.get(str(value.name)), has_sizes=has_sizes)
        for value in inputs
    }


def _specs(
    model: ir.Model, shapes: Mapping[str, tuple[int | None, ...]], size: int
) -> list[TensorSpec]:
    specs = []
    for value in model.graph.inputs:
        if value.name in shapes:
            shape = tuple(size if dim is None else dim for dim in shapes[str(value.name)])
            dtype = np.dtype(np.float32 if value.dtype is None else value.dtype.numpy())
            specs.append(TensorSpec(str(value.name), shape, dtype.name))
    return list(with_pixels(specs, recorded_pixels(model)))


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


def _shape(value: ir.Value, given: TensorSpec | None, *, has_sizes: bool) -> tuple[int | None, ...]:
    """The shape of an input, None for an open batch.

    Other open dimensions come from a spec; where none is given and data has sizes, they stay open.
    """
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
    if has_sizes and dims:
        dims[1:] = [DYNAMIC if dim is None else dim for dim in dims[1:]]
    if value.shape is None or any(dim is None for dim in dims[1:]):
        raise SourceError(
            f"The shape of input '{value.name}' is not known: {value.shape}.",
            f"Give it: --input {value.name}:{_example(value.shape)}",
        )
    return tuple(dims)


def _example(shape: ir.Shape | None) -> str:
    """Sizes that fit an input, as ``--input`` takes them."""
    if shape is None:
        return "1x3x224x224"
    known = (str(dim) if isinstance(dim, int) else "224" for dim in list(shape)[1:])
    return "x".join(["1", *known])
