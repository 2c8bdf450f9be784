"""Rules on pairs that meet: at a residual Add, at a Concat, on one tensor."""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    QUANTIZE,
    Parameters,
    consumers_of,
    producer_of,
    quantizer_of,
)
from trtqat.graph.lenses.paths import follow
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint.finding import Places, rule


@rule(
    "float-residual",
    cost="speed",
    remedy="Quantize the skip operand of the addition, with a quantizer of its own: a float "
    "one keeps the fused convolution's output in floating point.",
    example="x = torch.relu(conv(x) + self.skip_quantizer(x))",
)
def float_residual(view: GraphView) -> Places:
    """An Add behind a quantized layer, before a pair, none of whose operands is quantized.

    Where nobody quantizes the sum (a transformer's residual stream) it is float anyway. What is
    repeated for each sample, as a decoder's first queries, is no skip operand.
    """
    repeated: dict[ir.Value, ir.Node | None] = {}
    for node, operands in _additions(view):
        behind = [layer for v in operands if (layer := view.layer_before(v)) is not None]
        quantized = [layer for layer in behind if view.is_quantized(layer)]
        if any(view.dequantize_before(value) for value in operands):
            continue
        if any(_is_repeated(view, value, repeated) for value in operands):
            continue
        if quantized and view.is_quantized_later(node.outputs[0]):
            last = max(quantized, key=view.positions.__getitem__)
            yield (
                name_of(node),
                f"'{name_of(node)}' adds the output of the quantized '{last.name}' to a float "
                "tensor.",
            )


@rule(
    "pair-before-add",
    cost="speed",
    remedy="Remove the quantizer between the last convolution and the addition: TensorRT fuses "
    "the two only if nothing stands between them.",
    example="x = torch.relu(conv(x) + self.skip_quantizer(skip))",
)
def pair_before_add(view: GraphView) -> Places:
    """A pair on the branch that ends in a layer, unless the other branch ends in one as well.

    Of two such branches that both have a pair, the layer that runs last is the one to fuse.
    """
    for node, operands in _additions(view):
        if any(view.layer_before(value) is not None for value in operands):
            continue
        found = []
        for value in operands:
            layer = view.layer_before(view.pair_source(value))
            dequantize = producer_of(value, DEQUANTIZE)
            quantize = None if dequantize is None else quantizer_of(dequantize)
            if layer is not None and quantize is not None and view.counted.count(value) == 1:
                found.append((view.positions[layer], layer.name, name_of(quantize)))
        if found:
            _, layer_name, where = max(found)
            yield (
                where,
                f"'{where}' stands between '{layer_name}' and the addition '{name_of(node)}'.",
            )


@rule(
    "unequal-scales-concat",
    cost="speed",
    remedy="Let the branches share one quantizer, behind the Concat or before each branch: "
    "other scales are converted into each other, which costs a pass and rounds again.",
    example="x = quantizer(torch.cat([a, b], 1))",
)
def unequal_scales_concat(view: GraphView) -> Places:
    """A Concat of tensors with different scales, whose result is INT8 again."""
    for node in view.graph:
        if node.op_type != "Concat" or not view.is_quantized_later(node.outputs[0]):
            continue
        pairs = [view.dequantize_before(value) for value in node.inputs]
        scales = [view.parameters(pair) for pair in pairs if pair is not None]
        if not _are_equal(scales):
            yield name_of(node), f"'{name_of(node)}' joins tensors with {_listed(scales)}."


@rule(
    "unequal-scales-consumers",
    cost="speed",
    remedy="Quantize the tensor once and let all its readers take that, with the largest of the "
    "ranges: TensorRT writes it once for each scale.",
    example="x = quantizer(x); a = conv1(x); b = conv2(x)  # their input quantizers disabled",
)
def unequal_scales_consumers(view: GraphView) -> Places:
    """A tensor that is quantized with different scales for different readers."""
    for value, quantizers in _forks(view):
        scales = [view.parameters(node) for node in quantizers]
        if not _are_equal(scales):
            readers = ", ".join(f"'{name_of(node)}'" for node in quantizers[:3])
            yield (
                str(value.name),
                f"'{value.name}' is quantized with {_listed(scales)} by {readers}.",
            )


@rule(
    "repeated-pair",
    cost="speed",
    severity="note",
    repair="share-pairs",
    remedy="Share the quantizer, or export with --repair, which makes one pair of them; TensorRT "
    "merges most of them itself.",
    example="x = quantizer(x); a = conv1(x); b = conv2(x)  # their input quantizers disabled",
)
def repeated_pair(view: GraphView) -> Places:
    """Several pairs of equal scale on one tensor."""
    for value, quantizers in _forks(view):
        if _are_equal([view.parameters(node) for node in quantizers]):
            yield (
                str(value.name),
                f"'{value.name}' is quantized {len(quantizers)} times with the same scale.",
            )


@rule(
    "requantized",
    cost="accuracy",
    remedy="Quantize the tensor once: give the second quantizer the first one's range, or "
    "disable one of them. As it is, the values are rounded twice and converted in between.",
    example="conv._input_quantizer.disable()  # x comes from a quantizer already",
)
def requantized(view: GraphView) -> Places:
    """A pair behind a pair of another scale."""
    for node in view.quantizers:
        if node.op_type != DEQUANTIZE or not view.is_activation(node):
            continue
        first = view.parameters(node)
        again = [
            reader
            for reader in view.readers(node.outputs[0])
            if reader.op_type == QUANTIZE and _is_known_to_differ(first, view.parameters(reader))
        ]
        if again:
            names = ", ".join(f"'{name_of(reader)}'" for reader in again[:3])
            yield name_of(node), f"What '{name_of(node)}' makes is quantized anew by {names}."


def _are_equal(scales: list[Parameters]) -> bool:
    return all(scales[0].equals(other) for other in scales)


def _is_known_to_differ(one: Parameters, other: Parameters) -> bool:
    return one.scale is not None and other.scale is not None and not one.equals(other)


def _additions(view: GraphView) -> list[tuple[ir.Node, list[ir.Value]]]:
    """Every Add of two tensors that depend on an input."""
    found = []
    for node in view.graph:
        operands = [v for v in node.inputs if v is not None and v not in view.weights]
        if node.op_type == "Add" and len(operands) == 2:
            found.append((node, operands))
    return found


def _is_repeated(view: GraphView, value: ir.Value, known: dict[ir.Value, ir.Node | None]) -> bool:
    """Whether a tensor is a weight that was repeated, with other weights added to it maybe."""

    def step(current: ir.Value) -> tuple[ir.Node | None, ir.Value | None]:
        node = current.producer()
        if node is None:
            return None, None
        if node.op_type in ("Expand", "Tile"):
            source = node.inputs[0]
            return (node if source is not None and source in view.weights else None), None
        rest = [each for each in node.inputs if each is not None and each not in view.weights]
        return None, rest[0] if node.op_type == "Add" and len(rest) == 1 else None

    return follow(value, step, known) is not None


def _forks(view: GraphView) -> list[tuple[ir.Value, list[ir.Node]]]:
    """Every float activation that several QuantizeLinear nodes read."""
    values = dict.fromkeys(node.inputs[0] for node in view.quantizers if node.op_type == QUANTIZE)
    found = []
    for value in values:
        if value is None or value in view.weights or producer_of(value, DEQUANTIZE) is not None:
            continue
        quantizers = [node for node in consumers_of(value) if node.op_type == QUANTIZE]
        if len(quantizers) > 1:
            found.append((value, quantizers))
    return found


def _listed(scales: list[Parameters]) -> str:
    numbers = sorted({float(p.scale.max()) for p in scales if p.scale is not None})
    return "the scales " + ", ".join(f"{number:.4g}" for number in numbers[:4])


RULES = (
    float_residual,
    pair_before_add,
    unequal_scales_concat,
    unequal_scales_consumers,
    repeated_pair,
    requantized,
)
