"""Ways to compute what a byte becomes: nodes between the bytes and the first QuantizeLinear.

Each takes what is wanted of 256 bytes in every channel, and says whether it can give that: the
very floats of the host's normalisation or, where a quantizer alone reads the input, floats of the
very codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from trtqat.graph.editing import add_initializer, written_axes
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE
from trtqat.graph.pixels.fit import Wanted, fit
from trtqat.pixels import Pixels, prefix_of_nodes
from trtqat.tensors import BYTES, Array

# Bytes are INT8 codes of scale 1 once this is taken from them.
_HALF = 128
# The last codes.
_LOWEST, _LARGEST = -128, 127
# So far from its code, in codes, a float of a table may lie.
_WITHIN = 0.4
# Each channel that is computed apart is a kernel or more: for colours and alpha, not for bands.
_MOST_PLANES = 4
# The first opset in which Split is told into how many parts.
_SPLIT_COUNTS = 18


class NodeWriter:
    """Writes nodes of one input, one behind the other, each with a name of its own.

    Attributes:
        graph: The graph, which gets the initializers.
        axis: Of the channels, in what is computed now.
        nodes: What was written.
    """

    def __init__(self, graph: ir.Graph, name: str, axis: int) -> None:
        self.graph = graph
        self.axis = axis
        self.nodes: list[ir.Node] = []
        self._name = name

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        dtype: ir.DataType,
        outputs: int = 1,
        **attributes: Any,  # noqa: ANN401
    ) -> ir.Value:
        """Writes a node, and returns the first of what it makes."""
        name = f"{prefix_of_nodes(self._name)}{op_type}_{len(self.nodes)}"
        made = ir.node(op_type, list(inputs), attributes=attributes, num_outputs=outputs, name=name)
        for number, each in enumerate(made.outputs):
            each.name = f"{name}_output{f'_{number}' if number else ''}"
            each.type = ir.TensorType(dtype)
        self.nodes.append(made)
        return made.outputs[0]

    def constant(self, what: str, array: Array) -> ir.Value:
        """An initializer."""
        return add_initializer(self.graph, f"{prefix_of_nodes(self._name)}{what}", array)

    def per_channel(self, what: str, numbers: Array) -> ir.Value:
        """A number for each channel, of the rank of the image; one alone where all are equal."""
        if (numbers == numbers[0]).all():
            return self.constant(what, numbers[:1].reshape(()))
        shape = [1, 1, 1, 1]
        shape[self.axis] = len(numbers)
        return self.constant(what, numbers.reshape(shape))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Writes a Cast."""
        return self.node("Cast", [value], dtype, to=dtype)

    def as_floats(self, value: ir.Value) -> ir.Value:
        """Writes a Cast of bytes; floats stay as they are."""
        return value if value.dtype is ir.DataType.FLOAT else self.cast(value, ir.DataType.FLOAT)

    def as_index(self, value: ir.Value) -> ir.Value:
        """Writes what makes INT32 of bytes."""
        # By way of floats: TensorRT 8.6 casts bytes to nothing else.
        return self.cast(self.as_floats(value), ir.DataType.INT32)

    def floats(self, op_type: str, left: ir.Value, right: ir.Value) -> ir.Value:
        """Writes a node of two floats."""
        return self.node(op_type, [left, right], ir.DataType.FLOAT)

    def along(self, op_type: str, value: ir.Value, axis: int) -> ir.Value:
        """Writes a Squeeze or an Unsqueeze of floats."""
        name = f"{prefix_of_nodes(self._name)}axis_{axis}"
        inputs, attributes = written_axes(self.graph, name, [axis])
        return self.node(op_type, [value, *inputs], ir.DataType.FLOAT, **attributes)

    def planes(self, value: ir.Value, channels: int) -> list[ir.Value]:
        """Writes what takes floats apart into images of one channel, each ``(N, 1, H, W)``."""
        if self.axis != 1:
            return [self.along("Unsqueeze", self.pick(value, k), 1) for k in range(channels)]
        if channels == 1:
            return [value]
        counted = self.graph.opset_imports[""] >= _SPLIT_COUNTS
        attributes = {"num_outputs": channels} if counted else {}
        self.node("Split", [value], ir.DataType.FLOAT, channels, axis=self.axis, **attributes)
        return list(self.nodes[-1].outputs)

    def pick(self, value: ir.Value, channel: int) -> ir.Value:
        """Writes a Gather of one channel, whose axis is gone."""
        # One place, not a list of one: so no Squeeze is needed.
        place = self.constant(f"channel_{channel}", np.array(channel, np.int64))
        assert value.dtype is not None
        return self.node("Gather", [value, place], value.dtype, axis=self.axis)


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

    def write(writer: NodeWriter, x: ir.Value) -> ir.Value:
        planes = writer.planes(writer.as_floats(x), wanted.channels)
        done = []
        for channel in _in_order_of_model(wanted, pixels):
            factor = writer.constant(f"factor_{channel}", found.a[channel])
            shift = writer.constant(f"shift_{channel}", found.b[channel])
            product = writer.floats("Mul", planes[channel], factor)
            done.append(writer.floats("Add", product, shift))
        writer.axis = 1
        return done[0] if len(done) == 1 else writer.node("Concat", done, ir.DataType.FLOAT, axis=1)

    return write


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


def _in_order_of_model(wanted: Wanted, pixels: Pixels) -> NDArray[np.intp]:
    """Which of the bytes' channels each of the model's is."""
    order = np.arange(wanted.channels)
    return order[::-1] if pixels.bgr else order


def _layer(wanted: Wanted, pixels: Pixels) -> Write | None:
    found = fit(wanted, _HALF)
    if found is None:
        return None
    count = wanted.channels
    order = _in_order_of_model(wanted, pixels)
    scales = (found.a[order].astype(np.float64) / _LARGEST).astype(np.float32)
    floats_of_weight = np.zeros((count, count, 1, 1), np.float32)
    floats_of_weight[np.arange(count), order, 0, 0] = scales * np.float32(_LARGEST)

    def write(writer: NodeWriter, x: ir.Value) -> ir.Value:
        floats = writer.as_floats(x)
        half = writer.constant("half", np.array(_HALF, np.float32))
        bytes_ = writer.floats("Sub", floats, half)
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
LAYER = Way(
    "layer",
    "Cast, Sub, INT8 Conv 1x1",
    _layer,
    needs_codes=True,
    is_robust=True,
    needs_nchw=True,
    orders_channels=True,
)
WAYS = (DIVIDE, AFFINE, TABLE, CHANNELS, PLANES, LAYER)
