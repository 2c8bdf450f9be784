"""``--pixels``: the finished graph takes bytes of images, and computes the very same."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from trtqat.errors import ExportError, GraphError, SourceError, UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.verification.reference import other_output
from trtqat.graph.lenses.targets import HALF_OPSET, NEWEST_OPSETS, inputs_of_bytes
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph.pixels.forms import Choice, choice_for
from trtqat.graph.pixels.take_pixels import TakenInput, take_pixels
from trtqat.graph.repair.move_pairs import move_pairs
from trtqat.graph.runnable import serialize_runnable
from trtqat.graph_file.serialized import Serialized
from trtqat.pixels import Pixels, PixelSpec, normalised, pixels_of, with_pixels
from trtqat.provenance import METADATA_KEY, read_provenance
from trtqat.tensors import BYTES, Array, Arrays, TensorSpec

_LOG = logging.getLogger(__name__)


def check_pixels(options: ExportOptions) -> None:
    """Finds out before anything is computed whether what is asked for goes together.

    Raises:
        UsageError: It does not.
    """
    if options.for_ is not None and options.opset > NEWEST_OPSETS[options.for_]:
        newest = NEWEST_OPSETS[options.for_]
        way_out = f"Give --opset {newest}, or leave out --for."
        if options.precision == "fp16" and newest < HALF_OPSET:
            way_out = (
                f"Leave out --precision fp16: TensorRT {options.for_} takes FP16 by itself where "
                "that is faster. Or leave out --for."
            )
        raise UsageError(
            f"A graph of opset {options.opset} is not for TensorRT {options.for_}, which reads "
            f"opsets up to {newest}.",
            way_out,
        )
    if options.pixels and options.quantized_input:
        raise UsageError(
            "An input takes the bytes of images, or the codes that the caller made of them.",
            "Give --pixels, or --quantized-input.",
        )


def check_inputs(inputs: Sequence[TensorSpec], pixels: Mapping[str, Pixels]) -> None:
    """Checks that the inputs that are to take bytes are images of floats.

    Args:
        inputs: The model's, with all dimensions but the first.
        pixels: By input.

    Raises:
        SourceError: One is no image of floats, or does not exist.
        UsageError: Mean or std has another number of channels.
    """
    known = {spec.name: spec for spec in inputs}
    for name, each in pixels.items():
        spec = known.get(name)
        if spec is None:
            raise SourceError(
                f"There is no input '{name}' that could take bytes; there is {', '.join(known)}.",
                "Use one of those names with --pixels.",
            )
        if len(spec.shape) != 4 or spec.dtype != "float32":
            raise SourceError(
                f"Input '{spec}' cannot take the bytes of images.",
                "--pixels is for float32 inputs of the model, (N, C, H, W).",
            )
        each.check_channels(name, spec.shape[1])


def improve_options(options: ExportOptions, graph: ir.Graph) -> ImproveOptions:
    """Which passes run: weights stay float where a TensorRT takes no others behind bytes.

    Args:
        options: Of the export.
        graph: Before it takes what ``--pixels`` names; an input may take bytes already.
    """
    wanted = options.improve
    if wanted.int8_weights is not None or not _needs_float_weights(options, graph):
        return wanted
    return replace(wanted, int8_weights=False)


def notes_on_weights(options: ExportOptions, graph: ir.Graph) -> list[str]:
    """What the user should know of weights behind bytes.

    Args:
        options: Of the export.
        graph: Before it takes what ``--pixels`` names; an input may take bytes already.
    """
    if not _needs_float_weights(options, graph):
        return []
    if options.improve.int8_weights is None:
        return [
            "Weights are float, as TensorRT 8.6 may refuse INT8 ones behind bytes; the file is "
            "four times as large. --for 10, 11 or rtx writes INT8 ones."
        ]
    if options.improve.int8_weights:
        return [
            "TensorRT 8.6 takes no INT8 weights behind bytes where its Myelin compiler gets them, "
            "as those of a Gemm; leave out --int8-weights for it."
        ]
    return []


def choice_behind_bytes(options: ExportOptions, graph: ir.Graph) -> Choice | None:
    """What is written for the TensorRT that a graph is for; None where no input takes bytes.

    Args:
        options: Of the export.
        graph: Before it takes what ``--pixels`` names; an input may take bytes already.
    """
    if not options.pixels and not inputs_of_bytes(graph):
        return None
    # A graph from elsewhere may keep a newer opset than what is asked for.
    return choice_for(options.for_, max(options.opset, graph.opset_imports[""]))


def _needs_float_weights(options: ExportOptions, graph: ir.Graph) -> bool:
    choice = choice_behind_bytes(options, graph)
    return choice is not None and not choice.int8_weights


def recorded_pixels(model: ir.Model) -> dict[str, Pixels]:
    """Of the inputs that take bytes already, from an earlier export."""
    record = read_provenance(model.metadata_props.get(METADATA_KEY, "{}"))
    specs = []
    for value in model.graph.inputs:
        dims = tuple(dim if isinstance(dim, int) else -1 for dim in value.shape or ())
        is_bytes = value.dtype is ir.DataType.UINT8
        specs.append(TensorSpec(str(value.name), dims, "uint8" if is_bytes else "float32"))
    return pixels_of(with_pixels(specs, record.pixels))


def with_pixel_inputs(
    model: ir.Model, options: ExportOptions, batches: Sequence[Arrays]
) -> dict[str, TakenInput]:
    """Changes a verified graph, if that was asked for, and compares it with what it was.

    Args:
        model: After all other passes; changed in place.
        options: Of the export.
        batches: Inputs of shape ``(N, …)`` by name, floats where bytes are to be taken.

    Returns:
        What became of each input that takes bytes now.

    Raises:
        GraphError: An input cannot take them.
        ExportError: The changed graph computes something else.
    """
    if not options.pixels:
        return {}
    _check_outputs(model.graph, options.pixels)
    before = serialize_runnable(model)
    for note in move_pairs(model, to_inputs=True).notes:
        _LOG.info(note)
    choice = choice_for(options.for_, model.graph.opset_imports[""])
    taken = take_pixels(model, options.pixels, choice)
    for note in taken.notes:
        _LOG.warning(note)
    _check_same(before, serialize_runnable(model), batches, options)
    return taken.inputs


def _check_outputs(graph: ir.Graph, names: Container[str]) -> None:
    for value in graph.inputs:
        if value.name in names and value.is_graph_output():
            raise GraphError(
                f"Input '{value.name}' is an output, too, which cannot be floats where the input "
                "of that name is bytes.",
                "Leave the output out by onnx.utils.extract_model, as whoever gives the input has "
                "it; or return it through an Identity, under another name.",
            )


def _check_same(
    before: Serialized, after: Serialized, batches: Sequence[Arrays], options: ExportOptions
) -> None:
    """Compares every bit that the graph computes of floats with what it computes of bytes.

    Every byte is there in every channel, as far as an image has so many pixels.
    """
    images = [
        {
            name: _all_bytes(pixels.of_floats(TensorSpec(name, batch[name].shape)), number)
            for name, pixels in options.pixels.items()
        }
        for number, batch in enumerate(batches)
    ]
    floats = [
        {**batch, **normalised(each, options.pixels)}
        for batch, each in zip(batches, images, strict=True)
    ]
    given = [{**batch, **each} for batch, each in zip(batches, images, strict=True)]
    if name := other_output(before, floats, after, given):
        raise ExportError(
            f"Of bytes the graph computes another '{name}' than of the floats that the host makes "
            "of them.",
            "Leave out --pixels, and report the graph.",
        )


def _all_bytes(spec: PixelSpec, seed: int) -> Array:
    """All bytes one behind the other in each channel, at places that are drawn."""
    count, channels, height, width = spec.floats.shape
    generator = np.random.default_rng(seed)
    size = count * height * width
    planes = [generator.permutation(np.arange(size) % BYTES) for _ in range(channels)]
    images = np.stack(planes, axis=1).reshape(count, height, width, channels).astype(np.uint8)
    return spec.in_layout(images) if spec.pixels.layout == "nhwc" else images.transpose(0, 3, 1, 2)
