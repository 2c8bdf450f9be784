"""Pass: inputs arrive as bytes of images, and the graph normalises them.

1. The float input ``(N, C, H, W)`` becomes a uint8 one, ``(N, H, W, C)`` or ``(N, C, H, W)``.
2. Nodes behind it compute what the host's normalisation gives: where QuantizeLinear alone reads the
   input, floats of the very codes; anywhere else the very floats. The first form that can is taken.
3. NHWC is transposed before that, or the floats or their codes are behind it. The form that makes
   NCHW channel by channel transposes nothing.
4. Channels that come as BGR are put into the model's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.errors import GraphError
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.pairs import QUANTIZE, Parameters, consumers_of, parameters_of
from trtqat.graph.pixels.arithmetic import Write
from trtqat.graph.pixels.fit import Wanted
from trtqat.graph.pixels.forms import Choice, Form
from trtqat.graph.pixels.node_writer import NodeWriter
from trtqat.pixels import Pixels

_TO_NCHW = (0, 3, 1, 2)

# Usual normalisations of images leave 50 and more. Those for pixels up to 255, of pixels up to 1,
# and the other way round, leave one to three.
_FEW_CODES = 16


@dataclass(frozen=True)
class TakenInput:
    """What became of one input.

    Attributes:
        form: What computes it.
        channels: How many it has.
        is_quantized: Whether QuantizeLinear alone reads it, so that it is the codes that are the
            host's.
        near_borders: How many of the ``256 · channels`` codes lie so near a border that the
            formula, computed as it is written, may give the neighbour on an engine.
        fewest_codes: How many codes the 256 bytes become in the channel that has the fewest; None
            where they are no codes.
    """

    form: Form
    channels: int
    is_quantized: bool
    near_borders: int
    fewest_codes: int | None = None


@dataclass(frozen=True)
class TakenPixels:
    """What the pass did.

    Attributes:
        inputs: By name.
    """

    inputs: dict[str, TakenInput]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not certain on an engine, and normalisations that leave little of an image."""
        return tuple(note for name, taken in self.inputs.items() for note in _notes_on(name, taken))


def take_pixels(model: ir.Model, pixels: Mapping[str, Pixels], choice: Choice) -> TakenPixels:
    """Lets inputs be bytes, in place.

    Args:
        model: FP32, after all other passes.
        pixels: What the bytes of each input mean.
        choice: Of its forms the first one that gives what is wanted is taken.

    Raises:
        GraphError: There is no such input, it is no float image with a known number of channels,
            or none of the forms can give its codes.
        UsageError: Mean or std has another number of channels.
    """
    values = {str(value.name): value for value in model.graph.inputs}
    # Before what the first of them needs is there.
    codes = choice.codes_in(model.graph)
    taken = {}
    for name, each in pixels.items():
        if name not in values:
            raise GraphError(
                f"The graph has no input '{name}' that could take bytes; it has "
                f"{', '.join(values)}.",
                "Use one of those names with --pixels.",
            )
        channels = _channels(values[name], each)
        taken[name] = _take(model.graph, values[name], channels, each, codes, choice.floats)
    return TakenPixels(taken)


def _channels(value: ir.Value, pixels: Pixels) -> int:
    dims = value.shape
    fits = dims is not None and len(dims) == 4 and isinstance(dims[1], int)
    if value.dtype is not ir.DataType.FLOAT or not fits:
        kind = "no type" if value.dtype is None else value.dtype.name
        raise GraphError(
            f"Input '{value.name}' is {kind} of shape {dims}, which bytes of images cannot feed.",
            "--pixels is for float32 inputs (N, C, H, W) whose number of channels is known.",
        )
    assert dims is not None
    channels = dims[1]
    assert isinstance(channels, int)
    pixels.check_channels(str(value.name), channels)
    return channels


def _take(
    graph: ir.Graph,
    value: ir.Value,
    channels: int,
    pixels: Pixels,
    codes: tuple[Form, ...],
    floats: Form,
) -> TakenInput:
    readers = consumers_of(value)
    scale = _scale_of_all(readers, is_output=value.is_graph_output())
    wanted = Wanted(pixels.table(channels), scale)
    ordered = Wanted(wanted.values[::-1], scale) if pixels.bgr else wanted
    forms = (floats,) if scale is None else codes
    opset = graph.opset_imports[""]
    form, write = _first_that_can(str(value.name), ordered, pixels, forms, opset)
    transposed = form.transposed_in(pixels.layout)
    writer = NodeWriter(graph, str(value.name), 3 if pixels.layout == "nhwc" else 1)
    image = ir.Value(name=value.name, shape=_shape(value, pixels))
    image.type = ir.TensorType(ir.DataType.UINT8)
    found = image
    if transposed == "first":
        # TensorRT moves no bytes: they are for inputs and outputs of a network alone.
        found = _to_nchw(writer, writer.as_floats(found), ir.DataType.FLOAT)
    found = write(writer, found)
    if pixels.bgr and not form.way.orders_channels:
        order = writer.constant("order", np.arange(channels, dtype=np.int64)[::-1].copy())
        found = writer.node("Gather", [found, order], ir.DataType.FLOAT, axis=writer.axis)
    is_quantized = scale is not None
    moves_codes = transposed == "last" and is_quantized
    if transposed in ("middle", "last") and not moves_codes:
        found = _to_nchw(writer, found, ir.DataType.FLOAT)
    editor = Editor(graph)
    # The new nodes read the bytes, not what they replace.
    graph.inputs[list(graph.inputs).index(value)] = image
    value.name = None
    editor.replace(value, found)
    _insert_first(editor, graph, writer.nodes)
    if moves_codes:
        _move_codes(editor, graph, str(image.name), readers)
    editor.finish()
    near = wanted.near_borders() if is_quantized and not form.way.is_robust else 0
    return TakenInput(form, channels, is_quantized, near, wanted.fewest_codes())


def _first_that_can(
    name: str, wanted: Wanted, pixels: Pixels, forms: Sequence[Form], opset: int
) -> tuple[Form, Write]:
    for form in forms:
        has_what = wanted.scale is not None or not form.way.needs_codes
        can = has_what and form.takes(pixels.layout) and form.way.opset <= opset
        write = form.way.prepare(wanted, pixels) if can else None
        if write is not None:
            return form, write
    tried = ", ".join(form.name for form in forms)
    raise GraphError(
        f"No form gives the codes of input '{name}' that the host would make of "
        f"{pixels.layout.upper()} bytes ({tried}).",
        "Add the table of codes to the forms, which always can.",
    )


def _scale_of_all(readers: Sequence[ir.Node], *, is_output: bool) -> float | None:
    """The scale by which all that reads an input quantizes it; None where they do not."""
    found = [parameters_of(each) for each in readers if each.op_type == QUANTIZE]
    if is_output or not found or len(found) != len(readers):
        return None
    if not all(_is_plain(each) and each.equals(found[0]) for each in found):
        return None
    assert found[0].scale is not None
    return float(found[0].scale.item())


def _is_plain(parameters: Parameters) -> bool:
    zero_point = parameters.zero_point
    return (
        parameters.is_usable
        and parameters.axis is None
        and parameters.dtype == np.int8
        and parameters.scale is not None
        and parameters.scale.dtype == np.float32
        and (zero_point is None or not zero_point.any())
    )


def _shape(value: ir.Value, pixels: Pixels) -> ir.Shape:
    assert value.shape is not None
    n, c, h, w = value.shape
    return ir.Shape([n, h, w, c] if pixels.layout == "nhwc" else [n, c, h, w])


def _to_nchw(writer: NodeWriter, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    writer.axis = 1
    return writer.node("Transpose", [value], dtype, perm=list(_TO_NCHW))


def _move_codes(editor: Editor, graph: ir.Graph, name: str, quantizers: Sequence[ir.Node]) -> None:
    """Transposes what each QuantizeLinear makes, between the halves of the pair."""
    for number, quantize in enumerate(quantizers):
        writer = NodeWriter(graph, f"{name}.codes_{number}", 1)
        (codes,) = quantize.outputs
        moved = _to_nchw(writer, codes, ir.DataType.INT8)
        moved.shape, codes.shape = codes.shape, None
        editor.replace(codes, moved)
        editor.insert_after(quantize, writer.nodes)


def _insert_first(editor: Editor, graph: ir.Graph, nodes: list[ir.Node]) -> None:
    # Readers may be in subgraphs; these nodes read inputs and initializers alone.
    first = next(iter(graph), None)
    if first is None:
        graph.extend(nodes)
    else:
        editor.insert_before(first, nodes)


def _notes_on(name: str, taken: TakenInput) -> list[str]:
    few = taken.fewest_codes
    if few is None or few > _FEW_CODES:
        return _notes_on_codes(name, taken)
    return [
        f"The 256 bytes of a channel of input '{name}' become no more than {few} of its "
        "quantizer's codes. Check that --mean, --std and --scale are those of the training: with "
        "--mean and --std of pixels up to 255 goes --scale 1.",
        *_notes_on_codes(name, taken),
    ]


def _notes_on_codes(name: str, taken: TakenInput) -> list[str]:
    if taken.form.way.is_robust:
        return []
    if not taken.is_quantized:
        return [
            f"Input '{name}' is not quantized as it is, so the graph computes the host's floats by "
            "its formula. An engine that multiplies by a reciprocal may differ in their last bits."
        ]
    if taken.near_borders:
        return [
            f"{taken.near_borders} of the {256 * taken.channels} codes of input '{name}' lie at a "
            "border of rounding. ONNX Runtime gives the host's; an engine that multiplies by a "
            "reciprocal may give their neighbours."
        ]
    return []
