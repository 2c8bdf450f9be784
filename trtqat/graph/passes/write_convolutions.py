"""Pass: linear layers and means over images become convolutions and pools.

TensorRT 8.6 gives a Cast of bytes to its Myelin compiler. Once that is in a network, it takes the
network's end, too: the Gemm, the mean before it, and the sum and Relu before that in floating
point. Of a ResNet-50 at batch 32 this cost more than all that makes codes of bytes, 0.767 ms where
0.721 were without it (H200, by hand: scripts/results/pixels-by-hand.txt). Convolutions and pools it
leaves alone.

1. A mean over height and width is a GlobalAveragePool.
2. A Gemm of constants is a Conv 1x1 of an image of one pixel. The codes of its weight, and the pair
   on its data, stay what they are. Where the data were such an image before they were made flat,
   that is read.
3. The result is made flat again, behind an activation, so that TensorRT fuses that.
4. A graph with a MatMul stays as it is: Myelin has that anyway.

Products are summed in another order, so the last bits may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from trtqat.graph.editing import remove_unused, written_axes
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array, integer_of, name_of
from trtqat.graph.lenses.pairs import DEQUANTIZE, PAIR, parameters_of, producer_of, quantizer_of
from trtqat.graph.lenses.view import ACTIVATIONS
from trtqat.tensors import Array

_IMAGE = (2, 3)
_RANK = 4
_FLATTENING = ("Reshape", "Flatten", "Squeeze")


@dataclass(frozen=True)
class WrittenConvolutions:
    """What the pass did.

    Attributes:
        count: Linear layers and means that are others now.
        images: Names of dequantized tensors that were ``(N, K)`` and are ``(N, K, 1, 1)``.
    """

    count: int
    images: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for the user."""
        if not self.count:
            return ()
        what = "1 layer is" if self.count == 1 else f"{self.count} layers are"
        return (
            f"{what} written as convolutions and pools, as TensorRT 8.6 would compute them, and "
            "what stands before them, in floating point behind bytes.",
        )


@dataclass(frozen=True)
class _Linear:
    """A Gemm that a convolution can take the place of.

    Attributes:
        node: The Gemm.
        stored: The initializer of its weight, which nothing else needs.
        pair: What quantizes that and makes floats of its codes, as far as there is any.
        kernel: The weight as a kernel ``(M, K, 1, 1)``, floats or codes.
    """

    node: ir.Node
    stored: ir.Value
    pair: tuple[ir.Node, ...]
    kernel: Array


def layers_to_convolve(graph: ir.Graph) -> list[ir.Node]:
    """The linear layers and means that ``write_convolutions`` would replace, in the graph's order.

    Args:
        graph: With inferred shapes; it is not changed.
    """
    return [node for node, _ in _layers(graph, _Writer(graph))]


def write_convolutions(model: ir.Model) -> WrittenConvolutions:
    """Replaces them, in place.

    Args:
        model: Its nodes have names of their own, and its shapes are inferred.
    """
    graph = model.graph
    writer = _Writer(graph)
    count = 0
    for node, linear in _layers(graph, writer):
        if linear is None:
            writer.pool(node)
        else:
            writer.convolve(linear)
        count += 1
    if not count:
        return WrittenConvolutions(0)
    writer.editor.finish()
    remove_unused(graph)
    # Names that were chosen may be those of other tensors.
    common.NameFixPass()(model)
    return WrittenConvolutions(count, tuple(str(each.name) for each in writer.images))


def _layers(graph: ir.Graph, writer: _Writer) -> Iterator[tuple[ir.Node, _Linear | None]]:
    """Means over images, and linear layers with what is needed of them.

    Each is read when it is asked for, behind what was written before it.
    """
    if any(node.op_type == "MatMul" for node in graph.all_nodes()):
        return
    for node in list(graph):
        if _is_mean_of_image(node):
            yield node, None
        elif node.op_type == "Gemm" and (linear := writer.read(node)) is not None:
            yield node, linear


def _is_mean_of_image(node: ir.Node) -> bool:
    axes = node.attributes.get("axes")
    image = node.inputs[0] if node.inputs else None
    if node.op_type != "ReduceMean" or axes is None or image is None or image.shape is None:
        return False
    # A pool takes floats alone.
    is_image = len(image.shape) == _RANK and image.dtype is ir.DataType.FLOAT
    return is_image and tuple(sorted(axis % _RANK for axis in axes.as_ints())) == _IMAGE


class _Writer:
    def __init__(self, graph: ir.Graph) -> None:
        self.editor = Editor(graph)
        self.images: list[ir.Value] = []
        self._graph = graph

    def pool(self, mean: ir.Node) -> None:
        keeps = mean.attributes.get("keepdims")
        pool = ir.Node("", "GlobalAveragePool", mean.inputs[:1], name=mean.name)
        self._put(mean, pool, is_flat=keeps is not None and keeps.as_int() == 0)

    def read(self, gemm: ir.Node) -> _Linear | None:
        """What is needed of a Gemm; None where it stays one."""
        weight, *bias = gemm.inputs[1:]
        if weight is None or not _is_plain(gemm):
            return None
        axis = 0 if integer_of(gemm, "transB", 0) else 1
        pair: list[ir.Node] = []
        while (node := weight.producer()) is not None:
            if node.op_type not in PAIR or self._is_shared(weight) or node.inputs[0] is None:
                return None
            if parameters_of(node).axis not in (None, axis, axis - 2):
                return None
            pair.append(node)
            weight = node.inputs[0]
        array = constant_array(weight)
        if array is None or array.ndim != len(_IMAGE) or self._is_shared(weight):
            return None
        channels = array.shape[axis]
        if not all(_has_shape(each, (channels,)) for each in bias):
            return None
        kernel = (array if axis == 0 else array.T).reshape(channels, -1, 1, 1)
        return _Linear(gemm, weight, tuple(pair), np.ascontiguousarray(kernel))

    def convolve(self, linear: _Linear) -> None:
        gemm, stored, shape = linear.node, linear.stored, ir.Shape(linear.kernel.shape)
        # Asks of other linear layers, and so of their weights, before this one's is another.
        inputs = [self._image_of(gemm, linear.kernel.shape[1]), *gemm.inputs[1:]]
        stored.const_value = ir.tensor(linear.kernel, name=stored.name)
        stored.shape = shape
        for node in linear.pair:
            if "axis" in node.attributes:
                node.attributes["axis"] = ir.AttrInt64("axis", 0)
            node.outputs[0].shape = shape
        size = ir.AttrInt64s("kernel_shape", [1, 1])
        self._put(gemm, ir.Node("", "Conv", inputs, [size], name=gemm.name), is_flat=True)

    def _image_of(self, gemm: ir.Node, channels: int) -> ir.Value:
        """The data of a Gemm as an image of one pixel, quantized as they are."""
        data = gemm.inputs[0]
        assert data is not None
        dequantize = producer_of(data, DEQUANTIZE)
        quantize = None if dequantize is None else quantizer_of(dequantize)
        if data in self.images:
            return data  # of a linear layer before, with the same pair
        if dequantize is None or quantize is None or not self._serve_linear(quantize, dequantize):
            return self._as_image(data, gemm, channels)
        source = quantize.inputs[0]
        assert source is not None
        self.editor.replace_input(quantize, 0, self._as_image(source, quantize, channels))
        for node in (quantize, dequantize):
            # The last axis of what is flat is not that of an image.
            if (axis := parameters_of(node).axis) is not None:
                node.attributes["axis"] = ir.AttrInt64("axis", axis % len(_IMAGE))
            node.outputs[0].shape = None
        self.images.append(dequantize.outputs[0])
        return dequantize.outputs[0]

    def _serve_linear(self, quantize: ir.Node, dequantize: ir.Node) -> bool:
        """Whether what a pair makes is data of linear layers alone that become convolutions."""
        data = dequantize.outputs[0]
        readers = self.editor.first(data, self.editor.count(data))
        return (
            not self._is_shared(quantize.outputs[0])
            and not data.is_graph_output()
            and all(node.op_type == "Gemm" and self.read(node) is not None for node in readers)
        )

    def _is_shared(self, value: ir.Value) -> bool:
        """Whether more than one node reads a tensor, or whoever runs the graph."""
        return value.is_graph_output() or self.editor.count(value) != 1

    def _as_image(self, flat: ir.Value, reader: ir.Node, channels: int) -> ir.Value:
        move = flat.producer()
        source = move.inputs[0] if move is not None and move.op_type in _FLATTENING else None
        dims = None if source is None or source.shape is None else tuple(source.shape)
        if source is not None and dims is not None and dims[1:] == (channels, 1, 1):
            return source
        name = f"{name_of(reader)}_image"
        inputs, attributes = written_axes(self._graph, f"{name}.axes", _IMAGE)
        unsqueeze = ir.node("Unsqueeze", [flat, *inputs], attributes, name=name)
        unsqueeze.outputs[0].name = f"{name}_output_0"
        unsqueeze.outputs[0].type = flat.type
        self.editor.insert_before(reader, [unsqueeze])
        return unsqueeze.outputs[0]

    def _put(self, old: ir.Node, new: ir.Node, *, is_flat: bool) -> None:
        """Puts a node in another's place, and makes flat what comes behind its activation."""
        output, made = old.outputs[0], new.outputs[0]
        made.type = output.type
        self.editor.insert_after(old, [new])
        self.editor.replace(output, made)
        made.name, output.name = output.name, None
        self.editor.remove(old)
        made.shape = output.shape
        if is_flat:
            self._flatten(made)

    def _flatten(self, value: ir.Value) -> None:
        """Makes a new image of one pixel flat, behind the activations that read it alone."""
        shape = value.shape
        image = None if shape is None else ir.Shape([*shape, 1, 1])
        last, value.shape = value, image
        while (activation := self._activation_behind(last)) is not None:
            last = activation.outputs[0]
            last.shape = image
        node = last.producer()
        assert node is not None
        flatten = ir.Node("", "Flatten", [last], name=f"{name_of(node)}_flat")
        flat = flatten.outputs[0]
        flat.type, flat.shape = last.type, shape
        self.editor.replace(last, flat)
        self.editor.insert_after(node, [flatten])
        # Now, as all that read the tensor before read what is flat.
        self.editor.replace_input(flatten, 0, last)
        flat.name, last.name = last.name, f"{last.name}_image"

    def _activation_behind(self, value: ir.Value) -> ir.Node | None:
        """The activation that alone reads a tensor."""
        if self._is_shared(value):
            return None
        (node,) = self.editor.first(value, 1)
        is_of_numbers = node.inputs[0] is value and node.op_type in ACTIVATIONS - {"PRelu"}
        return node if is_of_numbers and node.graph is self._graph else None


def _is_plain(gemm: ir.Node) -> bool:
    factors = (gemm.attributes.get(name) for name in ("alpha", "beta"))
    is_scaled = any(each is not None and each.as_float() != 1 for each in factors)
    return not is_scaled and not integer_of(gemm, "transA", 0)


def _has_shape(bias: ir.Value | None, shape: tuple[int, ...]) -> bool:
    array = None if bias is None else constant_array(bias)
    return array is not None and array.shape == shape
