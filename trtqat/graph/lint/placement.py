"""Rules on where pairs stand around a layer, after NVIDIA's placement recommendations.

https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
("Q/DQ Layer-Placement Recommendations").
"""

from __future__ import annotations

from trtqat.graph.fold_batch_norm import KeptBatchNorm, why_kept
from trtqat.graph.layers import CONVOLUTIONS, PRODUCTS
from trtqat.graph.lint.finding import Places, rule
from trtqat.graph.pairs import QUANTIZE, consumers_of, is_dequantized
from trtqat.graph.repair.remove_pairs import changes_nothing
from trtqat.graph.view import ACTIVATIONS, TAKES_INT8, GraphView

_LAYERS = (*CONVOLUTIONS, *PRODUCTS)


@rule(
    "one-sided",
    cost="speed",
    remedy="Quantize both the input and the weight of the layer, or neither.",
    example="layer = quant_nn.QuantConv2d(...)  # has _input_quantizer and _weight_quantizer",
)
def one_sided(view: GraphView) -> Places:
    """A layer of which one operand alone is quantized: it runs in floating point."""
    for layer in view.layers:
        data, weight = view.has_int8_data(layer), view.has_int8_weight(layer)
        if data and not weight:
            what = "weight" if layer.is_weighted else "second operand"
            yield layer.name, f"'{layer.name}' has an INT8 input, but a float {what}."
        elif weight and not data:
            yield layer.name, f"'{layer.name}' has an INT8 weight, but a float input."


@rule(
    "pair-inside-layer",
    cost="speed",
    remedy="Quantize after the activation, where the next layer reads: TensorRT fuses Conv, "
    "BatchNorm and activation into one kernel only if nothing stands between them.",
    example="x = quantizer(torch.relu(bn(conv(x))))  # not torch.relu(quantizer(bn(conv(x))))",
)
def pair_inside_layer(view: GraphView) -> Places:
    """A pair between a layer and its BatchNorm or activation."""
    for quantize, dequantize in view.activation_pairs:
        layer = view.layer_before(quantize.inputs[0])
        if layer is None:
            continue
        for reader in consumers_of(dequantize.outputs[0]):
            if reader.op_type == "BatchNormalization" or reader.op_type in ACTIVATIONS:
                yield (
                    str(quantize.name),
                    f"'{quantize.name}' stands between '{layer.name}' and its {reader.op_type}.",
                )
                break


@rule(
    "batch-norm-not-folded",
    cost="speed",
    repair="fold-batch-norm",
    remedy="Nothing: export with --fold-batch-norm, which changes no INT8 code.",
    example="trtqat export model.onnx -o folded.onnx",
)
def batch_norm_not_folded(view: GraphView) -> Places:
    """A BatchNorm that can go into the quantized layer before it."""
    for kept in _batch_norms_behind_layers(view):
        if not kept.reason:
            yield kept.name, f"'{kept.name}' stands behind the quantized '{kept.behind}'."


@rule(
    "batch-norm-not-foldable",
    cost="speed",
    remedy="Make it foldable: let nothing else read the layer's output, and scale each output "
    "channel of the weight on its own.",
    example="x = bn(conv(x)); skip = x  # not: y = conv(x); x = bn(y); skip = y",
)
def batch_norm_not_foldable(view: GraphView) -> Places:
    """A BatchNorm that cannot go into the quantized layer before it."""
    for kept in _batch_norms_behind_layers(view):
        if kept.reason:
            yield (
                kept.name,
                f"'{kept.name}' stays behind the quantized '{kept.behind}': {kept.reason}.",
            )


@rule(
    "float-output",
    cost="speed",
    remedy="Quantize its output as well: with INT8 in and float out it writes four times the "
    "bytes, and what follows runs in floating point.",
    example="x = quantizer(pool(x))",
)
def float_output(view: GraphView) -> Places:
    """Layers without weights whose inputs are INT8 and whose output nobody quantizes."""
    for node in view.graph:
        if node.op_type not in TAKES_INT8 or not node.inputs:
            continue
        operands = [v for v in node.inputs if v is not None and v.const_value is None]
        if not operands or any(view.dequantize_before(value) is None for value in operands):
            continue
        if node.outputs[0].is_graph_output():
            continue
        if not view.is_quantized_later(node.outputs[0]):
            yield (
                str(node.name),
                f"'{node.name}' ({node.op_type}) reads INT8, but its output is not quantized.",
            )


@rule(
    "idle-pair",
    cost="speed",
    remedy="Remove the quantizer: no kernel reads its codes, so it only rounds and costs two "
    "passes over the tensor.",
    example="module.quantizer.disable()",
)
def idle_pair(view: GraphView) -> Places:
    """A pair behind which nothing can use INT8."""
    useful = {*_LAYERS, *TAKES_INT8, QUANTIZE}
    for quantize, dequantize in view.activation_pairs:
        if changes_nothing(dequantize):
            continue
        readers = list(view.readers(dequantize.outputs[0]))
        inside = view.layer_before(quantize.inputs[0]) is not None and any(
            reader.op_type == "BatchNormalization" or reader.op_type in ACTIVATIONS
            for reader in readers
        )
        if inside or any(reader.op_type in useful for reader in readers):
            continue
        names = ", ".join(sorted({reader.op_type for reader in readers})) or "the graph's output"
        yield str(quantize.name), f"'{quantize.name}' quantizes for {names}, which reads no INT8."


@rule(
    "redundant-pair",
    cost="speed",
    repair="remove-pairs",
    remedy="Remove the second quantizer, or export with --repair, which removes the pair: the "
    "tensor is already quantized with the same scale.",
    example="x = pool(quantizer(x))  # not quantizer(pool(quantizer(x)))",
)
def redundant_pair(view: GraphView) -> Places:
    """A pair that quantizes what already lies on its grid."""
    for quantize, dequantize in view.activation_pairs:
        if changes_nothing(dequantize):
            yield str(quantize.name), f"'{quantize.name}' quantizes INT8 values once more."


def _batch_norms_behind_layers(view: GraphView) -> list[KeptBatchNorm]:
    """BatchNorms behind a quantized layer, unless a pair between them is the fault."""
    nodes = [node for node in view.graph if node.op_type == "BatchNormalization"]
    found = [why_kept(node) for node in nodes if not is_dequantized(node.inputs[0])]
    return [kept for kept in found if kept.behind]


RULES = (
    one_sided,
    pair_inside_layer,
    batch_norm_not_folded,
    batch_norm_not_foldable,
    float_output,
    idle_pair,
    redundant_pair,
)
