"""Rules on where pairs stand around a layer, after NVIDIA's placement recommendations.

https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
("Q/DQ Layer-Placement Recommendations").
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.basics import is_constant, name_of
from trtqat.graph.lenses.layers import CONVOLUTIONS, PRODUCTS, layer_of, move_of_weight
from trtqat.graph.lenses.moves import ONNX_DOMAINS, keeps_codes
from trtqat.graph.lenses.pairs import QUANTIZE
from trtqat.graph.lenses.view import ACTIVATIONS, GraphView, has_hidden_parameters
from trtqat.graph.lint.finding import Advice, Places, rule

_LAYERS = (*CONVOLUTIONS, *PRODUCTS)
_ON_CAUSE = {
    "shared": Advice(
        "Let nothing else read the layer's output before its BatchNorm.",
        "y = bn(conv(x)); return head(y), y  # not conv(x)",
    ),
    "code": Advice(
        "Quantize the weight without the code -128, which has no negative for a negative γ.",
        "QuantDescriptor(num_bits=8, axis=(0,), narrow_range=True)  # of the weight",
    ),
    "axis": Advice(
        "Quantize the weight per output channel, or per tensor.",
        "QuantDescriptor(num_bits=8, axis=(0,))  # (1,) for ConvTranspose2d",
    ),
}


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
        first, second = "input", "weight" if layer.is_weighted else "second operand"
        if data and not weight:
            yield layer.name, f"'{layer.name}' has an INT8 {first}, but a float {second}."
        elif weight and not data:
            yield layer.name, f"'{layer.name}' has an INT8 {second}, but a float {first}."


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
        for reader in view.readers(dequantize.outputs[0]):
            if _belongs_to_layer(reader):
                where = name_of(quantize)
                yield where, f"'{where}' stands between '{layer.name}' and its {reader.op_type}."
                break


@rule(
    "weight-behind-moves",
    cost="speed",
    repair="fold-weight-moves",
    remedy="Nothing in the model where the scales follow one axis: trtqat export moves the codes. "
    "TensorRT takes a weight for INT8 where DequantizeLinear stands directly before the layer. "
    "Otherwise quantize the weight in the shape that the layer reads.",
    example="trtqat export model.onnx -o moved.onnx",
)
def weight_behind_moves(view: GraphView) -> Places:
    """A weight that is reshaped, transposed or cut behind its DequantizeLinear.

    Not by one Transpose before a Gemm or MatMul, as PyTorch's Linear has it.
    """
    for layer in view.layers:
        node = move_of_weight(layer, view.weights)
        if node is not None:
            yield (
                layer.name,
                f"The quantized weight of '{layer.name}' goes through '{name_of(node)}' "
                f"({node.op_type}).",
            )


@rule(
    "batch-norm-not-folded",
    cost="speed",
    repair="fold-batch-norm",
    remedy="Nothing: export with --fold-batch-norm, which changes no INT8 code.",
    example="trtqat export model.onnx -o folded.onnx",
)
def batch_norm_not_folded(view: GraphView) -> Places:
    """A BatchNorm that can go into the quantized layer before it."""
    for kept in view.batch_norms_behind_layers:
        if not kept.reason:
            yield kept.name, f"'{kept.name}' stands behind the quantized '{kept.behind}'."


@rule(
    "batch-norm-not-foldable",
    cost="speed",
    remedy="Make it foldable, by what the reason names: it goes into a layer of its own, before "
    "any other node, whose weight has constant INT8 codes.",
    example="x = torch.relu(bn(conv(x)))",
)
def batch_norm_not_foldable(view: GraphView) -> Places:
    """A BatchNorm that cannot go into the quantized layer before it.

    In a network of pre-activations it belongs to the layer behind it, and no layer takes it.
    """
    for kept in view.batch_norms_behind_layers:
        problem = f"'{kept.name}' stays behind the quantized '{kept.behind}': {kept.reason}."
        if kept.cause in _ON_CAUSE:
            yield kept.name, problem, _ON_CAUSE[kept.cause]
        elif kept.reason and kept.cause != "codes":
            yield kept.name, problem


@rule(
    "parameters-behind-identity",
    cost="speed",
    repair="tidy",
    remedy="Nothing in the model: trtqat export writes parameters as initializers. PyTorch's "
    "TorchScript exporter shares equal ones, as of BatchNorms that were not trained, through "
    "Identity nodes, and TensorRT 8.6 was seen to compute such a BatchNorm on its own.",
    example="trtqat export model.onnx -o tidy.onnx",
)
def parameters_behind_identity(view: GraphView) -> Places:
    """A BatchNorm whose parameters come through Identity nodes."""
    for node in view.graph:
        if node.op_type == BATCH_NORM and has_hidden_parameters(node):
            yield name_of(node), f"Parameters of '{name_of(node)}' come through Identity nodes."


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
        operands = [v for v in node.inputs if v is not None and not is_constant(v)]
        if not view.takes_int8(node) or any(not view.dequantize_before(v) for v in operands):
            continue
        output = node.outputs[0]
        # A Concat of equal pairs keeps their codes, and this builder was seen to do so.
        if view.target == "rtx" and view.dequantize_before(output) is not None:
            continue
        # Where the output is the one float operand of a layer, one-sided says it.
        behind = [layer_of(reader, view.weights) for reader in view.readers(output)]
        if any(layer is not None and view.is_one_sided(layer) for layer in behind):
            continue
        if not view.is_output(output) and not view.is_quantized_later(output):
            yield (
                name_of(node),
                f"'{name_of(node)}' ({node.op_type}) reads INT8, but its output is not quantized.",
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
    useful = {*_LAYERS, QUANTIZE}
    for quantize, dequantize in view.activation_pairs:
        if view.grids.changes_nothing(dequantize):
            continue
        readers = view.readers(dequantize.outputs[0], keeps_codes)
        inside = view.layer_before(quantize.inputs[0]) is not None and any(
            map(_belongs_to_layer, readers)
        )
        if inside or any(r.op_type in useful or view.takes_int8(r) for r in readers):
            continue
        names = ", ".join(sorted({reader.op_type for reader in readers})) or "the graph's output"
        yield (
            name_of(quantize),
            f"'{name_of(quantize)}' quantizes for {names}, which reads no INT8.",
        )


@rule(
    "resize-behind-pair",
    cost="speed",
    only_for="rtx",
    remedy="Quantize what the Resize makes, directly before the layer: TensorRT for RTX computes a "
    "Resize in floating point, and no pair behind it tells the layer to read codes.",
    example="y = conv(quantizer(F.interpolate(x)))  # not conv(F.interpolate(quantizer(x)))",
)
def resize_behind_pair(view: GraphView) -> Places:
    """A Resize between a pair and its layer, where the graph is for TensorRT for RTX."""
    if view.target != "rtx":
        return
    resizes = {
        reader: name_of(node)
        for node in view.graph
        if _is_resize(node) and view.dequantize_before(node.inputs[0]) is not None
        for reader in view.readers(node.outputs[0], _keeps_codes_but_resize)
    }
    for layer in view.layers:
        if layer.node in resizes and view.is_quantized(layer):
            problem = (
                f"'{resizes[layer.node]}' (Resize) stands between '{layer.name}' and its pair: the "
                "layer runs in floating point."
            )
            yield layer.name, problem


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
        if view.grids.changes_nothing(dequantize):
            yield name_of(quantize), f"'{name_of(quantize)}' quantizes INT8 values once more."


def _keeps_codes_but_resize(node: ir.Node) -> bool:
    """The same for all but a Resize, behind which the layers are its own."""
    return keeps_codes(node) and not _is_resize(node)


def _is_resize(node: ir.Node) -> bool:
    return node.op_type == "Resize" and node.domain in ONNX_DOMAINS


def _belongs_to_layer(reader: ir.Node) -> bool:
    """Whether TensorRT runs a node in the kernel of the layer before it."""
    return reader.op_type == BATCH_NORM or reader.op_type in ACTIVATIONS


RULES = (
    one_sided,
    pair_inside_layer,
    weight_behind_moves,
    batch_norm_not_folded,
    batch_norm_not_foldable,
    parameters_behind_identity,
    float_output,
    idle_pair,
    resize_behind_pair,
    redundant_pair,
)
