"""Ways to compute what a byte becomes: nodes between the bytes and the first QuantizeLinear.

Each takes what is wanted of 256 bytes in every channel, and says whether it can give that: the
very floats of the host's normalisation or, where a quantizer alone reads the input, floats of the
very codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE
from trtqat.graph.pixels.fit import Wanted, fit
from trtqat.graph.pixels.fit_half import MIDDLE, HalfLine, fit_half
from trtqat.graph.pixels.node_writer import NodeWriter
from trtqat.pixels import Pixels, prefix_of_half_nodes
from trtqat.tensors import BYTES, Array

# The last codes.
_LOWEST, _LARGEST = -128, 127
# So far from its code, in codes, a float of a table may lie.
_WITHIN = 0.4
# Round came with this opset, and scales by channel with that.
_ROUND_OPSET, _CHANNEL_SCALE_OPSET = 11, 13
# Each channel that is computed apart is a kernel or more: for colours and alpha, not for bands.
_MOST_PLANES = 4

# Writes a way's nodes behind the bytes (cast to floats, or moved), and returns the floats.
Write = Callable[[NodeWriter, ir.Value], ir.Value]


@dataclass(frozen=True)
class Way:
    """A way to compute values of bytes.

    Attributes:
        name: As tables call it.
        what: Its nodes, in words.
        needs_codes: Whether it gives the codes alone, not the very floats.
        is_robust: Whether its codes stay the same whatever an engine rounds or fuses.
        needs_nchw: Whether it computes in NCHW only.
        makes_nchw: Whether it makes NCHW of NHWC by itself, so that nothing is transposed.
        is_for_nhwc: Whether it reads NHWC only.
        orders_channels: Whether it brings BGR into the model's order by itself.
        opset: The first that has all of its operators.
        prepare: Given what is wanted (in the order of the bytes' channels) and the pixels, what
            writes it; None where it cannot give that.
    """

    name: str
    what: str
    prepare: Callable[[Wanted, Pixels], Write | None]
    needs_codes: bool
    is_robust: bool
    needs_nchw: bool = False
    makes_nchw: bool = False
    is_for_nhwc: bool = False
    orders_channels: bool = False
    opset: int = 1


def _divide(wanted: Wanted, pixels: Pixels) -> Write:
    def numbers(given: Sequence[float]) -> Array:
        each = np.broadcast_to(np.array(given, np.float32), wanted.channels)
        return each[::-1] if pixels.bgr else each

    def write(writer: NodeWriter, x: ir.Value) -> ir.Value:
        floats = writer.as_floats(x)
        scale = writer.constant("scale", np.array(pixels.scale, np.float32))
        part = writer.floats("Div", floats, scale)
        less = writer.floats("Sub", part, writer.per_channel("mean", numbers(pixels.mean)))
        return writer.floats("Div", less, writer.per_channel("std", numbers(pixels.std)))

    return write


def _affine(wanted: Wanted, pixels: Pixels) -> Write | None:
    del pixels
    found = fit(wanted)
    if found is None:
        return None

    def write(writer: NodeWriter, x: ir.Value) -> ir.Value:
        floats = writer.as_floats(x)
        product = writer.floats("Mul", floats, writer.per_channel("factor", found.a))
        return writer.floats("Add", product, writer.per_channel("shift", found.b))

    return write


def _planes(wanted: Wanted, pixels: Pixels) -> Write | None:
    found = fit(wanted) if wanted.channels <= _MOST_PLANES else None
    if found is None:
        return None

    def line(writer: NodeWriter, plane: ir.Value, channel: int) -> ir.Value:
        factor = writer.constant(f"factor_{channel}", found.a[channel])
        shift = writer.constant(f"shift_{channel}", found.b[channel])
        return writer.floats("Add", writer.floats("Mul", plane, factor), shift)

    return partial(_each_plane, line=line, order=_in_order_of_model(wanted, pixels))


def _half(wanted: Wanted, pixels: Pixels) -> Write | None:
    lines = fit_half(wanted) if wanted.channels <= _MOST_PLANES else None
    if lines is None:
        return None

    scale = np.array(wanted.scale, np.float32)

    def line(writer: NodeWriter, plane: ir.Value, channel: int) -> ir.Value:
        code = _code(writer, plane, channel, lines[channel])
        return writer.floats("Mul", code, writer.constant("step", scale))

    def write(writer: NodeWriter, x: ir.Value) -> ir.Value:
        # By their names the builder lets these be FP16.
        writer.prefix = prefix_of_half_nodes(writer.name)
        return _each_plane(writer, x, line, _in_order_of_model(wanted, pixels))

    return write


def _code(writer: NodeWriter, plane: ir.Value, channel: int, line: HalfLine) -> ir.Value:
    """The formula of ``fit_half``."""

    def constant(what: str, number: float) -> ir.Value:
        return writer.constant(f"{what}_{channel}", np.array(number, np.float32))

    q = writer.floats("Sub", plane, constant("middle", MIDDLE))
    product = writer.floats("Mul", q, constant("high", line.high))
    part = writer.floats("Add", product, constant("base", line.base))
    rounded = writer.node("Round", [part], ir.DataType.FLOAT)
    left = writer.floats("Sub", part, rounded)
    product = writer.floats("Mul", q, constant("low", line.low))
    shifted = writer.floats("Add", product, constant("shift", line.shift))
    rest = writer.node("Round", [writer.floats("Add", shifted, left)], ir.DataType.FLOAT)
    code = writer.floats("Add", rounded, rest)
    if line.times:
        times = q if line.times == 1 else writer.floats("Mul", q, constant("times", line.times))
        code = writer.floats("Add", code, times)
    if line.whole:
        code = writer.floats("Add", code, constant("whole", line.whole))
    return code


def _each_plane(
    writer: NodeWriter,
    x: ir.Value,
    line: Callable[[NodeWriter, ir.Value, int], ir.Value],
    order: Sequence[int],
) -> ir.Value:
    """Writes a line for each channel, and what joins them in the model's order."""
    planes = writer.planes(writer.as_floats(x), len(order))
    done = [line(writer, planes[channel], channel) for channel in order]
    writer.axis = 1
    return done[0] if len(done) == 1 else writer.node("Concat", done, ir.DataType.FLOAT, axis=1)


def _table(wanted: Wanted, pixels: Pixels) -> Write:
    del pixels
    values, is_one = _table_of(wanted)

    def write(writer: NodeWriter, x: ir.Value) -> ir.Value:
        index = writer.as_index(x)
        if not is_one:
            starts = np.arange(wanted.channels, dtype=np.int32) * BYTES
            places = [index, writer.per_channel("starts", starts)]
            index = writer.node("Add", places, ir.DataType.INT32)
        table = writer.constant("table", values[0] if is_one else values.reshape(-1))
        return writer.node("Gather", [table, index], ir.DataType.FLOAT, axis=0)

    return write


def _channels(wanted: Wanted, pixels: Pixels) -> Write:
    values, is_one = _table_of(wanted)

    def write(writer: NodeWriter, x: ir.Value) -> ir.Value:
        index = writer.as_index(x)
        planes = []
        for channel in _in_order_of_model(wanted, pixels):
            plane = writer.pick(index, channel)
            table = writer.constant("table" if is_one else f"table_{channel}", values[channel])
            floats = writer.node("Gather", [table, plane], ir.DataType.FLOAT, axis=0)
            planes.append(writer.along("Unsqueeze", floats, 1))
        writer.axis = 1
        return writer.node("Concat", planes, ir.DataType.FLOAT, axis=1)

    return write


def _table_of(wanted: Wanted) -> tuple[NDArray[np.float32], bool]:
    """A float for each byte of each channel, ``(C, 256)``, and whether all channels have the same.

    Of a quantized input it is the host's where that lies well within its code; else it is moved
    away from the border, as FP16 moves the largest ones by a 16th of a code.
    """
    values = wanted.values
    if wanted.scale is not None:
        codes, scale = wanted.codes.astype(np.float64), np.float64(wanted.scale)
        lower = np.where(codes == _LOWEST, -np.inf, codes - _WITHIN)
        upper = np.where(codes == _LARGEST, np.inf, codes + _WITHIN)
        values = (np.clip(values / scale, lower, upper) * scale).astype(np.float32)
    return values, bool((values == values[0]).all())


def _in_order_of_model(wanted: Wanted, pixels: Pixels) -> Sequence[int]:
    """Which of the bytes' channels each of the model's is."""
    order = range(wanted.channels)
    return order[::-1] if pixels.bgr else order


def _layer(wanted: Wanted, pixels: Pixels) -> Write | None:
    found = fit(wanted, MIDDLE)
    if found is None:
        return None
    count = wanted.channels
    order = np.array(_in_order_of_model(wanted, pixels))
    scales = (found.a[order].astype(np.float64) / _LARGEST).astype(np.float32)
    floats_of_weight = np.zeros((count, count, 1, 1), np.float32)
    floats_of_weight[np.arange(count), order, 0, 0] = scales * np.float32(_LARGEST)

    def write(writer: NodeWriter, x: ir.Value) -> ir.Value:
        floats = writer.as_floats(x)
        middle = writer.constant("middle", np.array(MIDDLE, np.float32))
        bytes_ = writer.floats("Sub", floats, middle)
        one = [
            writer.constant("one", np.array(1, np.float32)),
            writer.constant("zero", np.array(0, np.int8)),
        ]
        quantized = writer.node(QUANTIZE, [bytes_, *one], ir.DataType.INT8)
        data = writer.node(DEQUANTIZE, [quantized, *one], ir.DataType.FLOAT)
        each = [
            writer.constant("weight_scale", scales),
            writer.constant("weight_zero", np.zeros(count, np.int8)),
        ]
        # Float, as TensorRT 8.6 takes no INT8 initializer here.
        stored = writer.constant("weight", floats_of_weight)
        codes = writer.node(QUANTIZE, [stored, *each], ir.DataType.INT8, axis=0)
        weight = writer.node(DEQUANTIZE, [codes, *each], ir.DataType.FLOAT, axis=0)
        bias = writer.constant("bias", found.b[order])
        return writer.node("Conv", [data, weight, bias], ir.DataType.FLOAT, kernel_shape=[1, 1])

    return write


DIVIDE = Way("divide", "Cast, Div, Sub, Div", _divide, needs_codes=False, is_robust=False)
AFFINE = Way("affine", "Cast, Mul, Add", _affine, needs_codes=True, is_robust=True)
TABLE = Way("table", "Cast, Cast, Add, Gather", _table, needs_codes=False, is_robust=True)
CHANNELS = Way(
    "channels",
    "Cast, Cast, for each channel Gather, Gather, Unsqueeze, and Concat",
    _channels,
    needs_codes=False,
    is_robust=True,
    makes_nchw=True,
    is_for_nhwc=True,
    orders_channels=True,
)
PLANES = Way(
    "planes",
    "Cast, Split or Gather of the channels, for each Mul and Add, and Concat",
    _planes,
    needs_codes=True,
    is_robust=True,
    makes_nchw=True,
    orders_channels=True,
)
HALF = Way(
    "half",
    "Cast, Gather of the channels, for each whole numbers that FP16 holds, and Concat",
    _half,
    needs_codes=True,
    is_robust=True,
    makes_nchw=True,
    is_for_nhwc=True,
    orders_channels=True,
    opset=_ROUND_OPSET,
)
LAYER = Way(
    "layer",
    "Cast, Sub, INT8 Conv 1x1",
    _layer,
    needs_codes=True,
    is_robust=True,
    needs_nchw=True,
    orders_channels=True,
    opset=_CHANNEL_SCALE_OPSET,
)
WAYS = (DIVIDE, AFFINE, TABLE, CHANNELS, PLANES, HALF, LAYER)
