"""Rules on what is left: channel counts that INT8 kernels pad, layers in floating point."""

from __future__ import annotations

from trtqat.graph.lenses.basics import is_constant
from trtqat.graph.lenses.layers import Layer
from trtqat.graph.lenses.macs import macs_of
from trtqat.graph.lenses.pairs import quantized_tensor
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint.finding import Advice, Places, rule
from trtqat.graph.lint.transposed import advice_on_float

# INT8 tensors are stored in vectors of 4 (dp4a) or 32 (tensor cores) channels.
_VECTOR = 4
_TENSOR_CORE = 32
# Padding below this share of the graph's arithmetic is not worth a word.
_WORTH_MENTIONING = 0.01
# What makes of the bytes of an image what a model takes, each channel by itself.
_NORMALISES = frozenset(
    (
        *("Cast", "Mul", "Add", "Sub", "Div", "Round"),
        *("Transpose", "Gather", "Split", "Unsqueeze", "Concat"),
    )
)
_ON_PRODUCTS = Advice(
    "A product of two activations needs a quantizer on each of them, if accuracy allows; it runs "
    "in FP16 or FP32 as it is.",
    "scores = self.query_quantizer(q) @ self.key_quantizer(k).transpose(-2, -1)",
)


@rule(
    "channels-unaligned",
    cost="speed",
    severity="note",
    remedy="Make the channel count a multiple of 32, or at least of 4: INT8 kernels compute "
    "whole vectors of channels and fill the rest with zeros.",
    example="conv = QuantConv2d(64, 96, 3)  # not 64, 90",
)
def channels_unaligned(view: GraphView) -> Places:
    """Channel counts whose padding costs a hundredth of the graph's arithmetic or more.

    An image's channels are not the model's to choose: what a graph's input has is not counted.
    """
    total = view.macs
    for layer in view.layers:
        counts = _channels(layer)
        macs = macs_of(layer, view.batch)
        if counts is None or not macs or not total or not view.is_quantized(layer):
            continue
        chosen = counts[1:] if _reads_input(layer, view) else counts
        unaligned = [count for count in chosen if count % _TENSOR_CORE]
        padded = macs
        for count in chosen:
            vector = _TENSOR_CORE if count > _TENSOR_CORE // 2 else _VECTOR
            padded = padded * (-(-count // vector) * vector) // count
        if unaligned and (padded - macs) / total >= _WORTH_MENTIONING:
            yield (
                layer.name,
                f"'{layer.name}' has {counts[0]} input and {counts[1]} output channels: padded "
                f"to whole vectors it computes {padded / macs - 1:.0%} more.",
            )


@rule(
    "layer-not-quantized",
    cost="speed",
    severity="note",
    remedy="Quantize it, if accuracy allows; it runs in FP16 or FP32 as it is. trtqat quantize "
    "does, or says why not. insert_quantizers quantizes modules: a layer that is a call, as "
    "F.linear(x, w), becomes one.",
    example="quantized = trtqat.quantize(model, batches)",
)
def layer_not_quantized(view: GraphView) -> Places:
    """Layers with neither operand in INT8, with their share of the arithmetic."""
    for layer in view.layers:
        if view.has_int8_data(layer) or view.has_int8_weight(layer):
            continue
        if layer.is_weighted and layer.data in view.weights:
            continue  # TensorRT computes it while it builds
        macs = macs_of(layer, view.batch)
        share = f", {macs / view.macs:.1%} of the arithmetic" if macs and view.macs else ""
        problem = f"'{layer.name}' ({layer.node.op_type}) is not quantized{share}."
        if not layer.is_weighted:
            yield layer.name, problem, _ON_PRODUCTS
        elif layer.node.op_type == "ConvTranspose":
            yield layer.name, problem, advice_on_float(view.target)
        else:
            yield layer.name, problem


def _reads_input(layer: Layer, view: GraphView) -> bool:
    """Whether it reads an input of the graph, as it is or normalised in the graph."""
    dequantize = view.dequantize_before(layer.data)
    found = layer.data if dequantize is None else quantized_tensor(dequantize)
    waiting = [] if found is None else [found]
    # Channels may be computed apart, and each from its byte in several ways.
    seen = set(waiting)
    read = set()
    while waiting:
        source = waiting.pop()
        node = source.producer()
        if node is None:
            read.add(source)
            continue
        if node.op_type not in _NORMALISES:
            return False
        computed = [value for value in node.inputs if value is not None and not is_constant(value)]
        waiting += [value for value in computed if value not in seen]
        seen.update(computed)
    return len(read) == 1 and all(source.is_graph_input() for source in read)


def _channels(layer: Layer) -> tuple[int, int] | None:
    """Input and output channels of a dense layer; a depthwise one has no vectors to fill."""
    group = layer.node.attributes.get("group")
    shape = layer.weight.shape
    if layer.weight_axis is None or shape is None or not layer.is_weighted:
        return None
    if group is not None and group.as_int() != 1:
        return None
    dims = [dim for dim in shape if isinstance(dim, int)]
    if len(dims) != len(shape) or len(dims) < 2:
        return None
    if layer.node.op_type == "Conv":
        return dims[1], dims[0]
    if layer.node.op_type == "ConvTranspose":
        return dims[0], dims[1]
    transposed = layer.node.attributes.get("transB")
    return (dims[1], dims[0]) if transposed and transposed.as_int() else (dims[-2], dims[-1])


RULES = (channels_unaligned, layer_not_quantized)
