"""Rules on nodes that TensorRT does not read, or not in INT8."""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.groups import groups_of
from trtqat.graph.lenses.layers import Layer
from trtqat.graph.lenses.moves import ONNX_DOMAINS, is_move
from trtqat.graph.lenses.pairs import (
    CODE_TYPES,
    DEQUANTIZE,
    PAIR,
    QUANTIZE,
    consumers_of,
    has_constant_codes,
    quantizer_of,
)
from trtqat.graph.lenses.siblings import becomes_int8, siblings
from trtqat.graph.lenses.targets import (
    NEWEST_OPSETS,
    inputs_of_bytes,
    is_for_8_6,
    needs_float_weight_on_8_6,
)
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint.finding import Advice, Places, rule
from trtqat.graph.lint.transposed import ON_QUANTIZED, advice_on_quantized
from trtqat.quant.placing import reasons

_INTEGER = frozenset(
    {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"}
)
# ONNX Runtime's own, in the domain com.microsoft.
_FOREIGN_PREFIXES = (
    "QLinear", "QGemm", "QAttention", "QEmbedLayerNormalization", "QMoE",
    "DynamicQuantize", "MatMulInteger", "ConvInteger", "MatMulNBits",
)  # fmt: skip


_CAST_FIRST = (
    "Cast bytes first, and move floats: TensorRT takes bytes as an input alone, for a Cast to read "
    "(seen of 8.6.0 and of TensorRT for RTX)."
)


@rule(
    "bytes-not-cast-first",
    cost="refusal",
    remedy=_CAST_FIRST,
    example="trtqat export model.onnx -o mended.onnx",
)
def bytes_not_cast_first(view: GraphView) -> Places:
    """An input of bytes that a node moves before they are cast."""
    # A graph without pairs is none to export, and quantizing casts first, too.
    has_pairs = any(node.op_type in PAIR for node in view.graph.all_nodes())
    command = "export model.onnx" if has_pairs else "quantize model.onnx --data SPEC"
    advice = Advice(_CAST_FIRST, f"trtqat {command} -o mended.onnx")
    for value in view.graph.inputs:
        if value.dtype is ir.DataType.UINT8:
            for node in filter(is_move, consumers_of(value)):
                yield (
                    name_of(node),
                    f"'{name_of(node)}' ({node.op_type}) moves the bytes of input '{value.name}'.",
                    advice,
                )


@rule(
    "integer-operator",
    cost="refusal",
    remedy="Export the fake-quantized model, before torch.ao's convert() or ONNX Runtime's "
    "quantize_static with the QOperator format.",
    example="quantize_static(..., quant_format=QuantFormat.QDQ)",
)
def integer_operator(view: GraphView) -> Places:
    """Operators on integers, which TensorRT's parser does not know."""
    for node in view.graph:
        if _is_on_integers(node):
            yield name_of(node), f"'{name_of(node)}' is {node.op_type}."


@rule(
    "foreign-quantizer",
    cost="refusal",
    repair="standard-pairs",
    remedy="Nothing in the model: trtqat export writes those that compute the same as ONNX's own. "
    "What is left has another type of codes, or an opset before 13.",
    example="trtqat export model.onnx -o standard.onnx",
)
def foreign_quantizer(view: GraphView) -> Places:
    """QuantizeLinear and DequantizeLinear of another domain than ONNX's."""
    for node in view.quantizers:
        if node.domain not in ONNX_DOMAINS:
            yield name_of(node), f"'{name_of(node)}' is {node.op_type} of {node.domain}."


@rule(
    "node-inside-pair",
    cost="refusal",
    repair="standard-pairs",
    remedy="Take what stands inside the pair out: TensorRT takes a pair for one where nothing is "
    "between its halves. trtqat export takes a Clip with constant bounds out, and a Reshape or "
    "Transpose of constant codes.",
    example="trtqat export model.onnx -o standard.onnx",
)
def node_inside_pair(view: GraphView) -> Places:
    """A node that computes codes between QuantizeLinear and DequantizeLinear."""
    for node in view.quantizers:
        source = node.inputs[0]
        inside = None if source is None else source.producer()
        if node.op_type != DEQUANTIZE or inside is None or has_constant_codes(node):
            continue
        if inside.op_type in (QUANTIZE, "DynamicQuantizeLinear", "Constant"):
            continue
        # An operator on integers is a finding of its own.
        if not _is_on_integers(inside):
            yield (
                name_of(node),
                f"'{name_of(inside)}' ({inside.op_type}) makes the codes that '{name_of(node)}' "
                "reads.",
            )


@rule(
    "bias-dequantized",
    cost="refusal",
    remedy="Leave biases in floating point; TensorRT adds them in FP32 to the INT32 sums. "
    "trtqat export model.onnx -o mended.onnx makes constant INT32 ones float.",
    example="quantize_static(..., extra_options={'QuantizeBias': False})",
)
def bias_dequantized(view: GraphView) -> Places:
    """A bias that comes out of DequantizeLinear."""
    for layer, dequantize in view.dequantized_biases:
        yield layer.name, f"The bias of '{layer.name}' comes from '{name_of(dequantize)}'."


@rule(
    "quantized-conv-transpose",
    cost="refusal",
    remedy=ON_QUANTIZED.remedy,
    example=ON_QUANTIZED.example,
)
def quantized_conv_transpose(view: GraphView) -> Places:
    """A ConvTranspose between Q/DQ, for TensorRT 8.6, and for RTX where that is asked for."""
    advice = advice_on_quantized(view.target)
    for layer in view.layers if view.target == "rtx" else _layers_for_8_6(view):
        if layer.node.op_type == "ConvTranspose" and view.is_quantized(layer):
            yield layer.name, f"'{layer.name}' is a quantized ConvTranspose.", advice


@rule(
    "int8-weight-of-matmul",
    cost="refusal",
    remedy="Export without --int8-weights: TensorRT 8.6.0 takes INT8 initializers for Conv and for "
    "Gemm in a network without MatMul, but stops at one for MatMul (seen on an H200).",
    example="trtqat export model.onnx -o mended.onnx",
)
def int8_weight_of_matmul(view: GraphView) -> Places:
    """An INT8 initializer for a MatMul, or a Gemm beside one, in a graph that 8.6 reads."""
    needs_float = needs_float_weight_on_8_6(view.graph)
    for layer in _layers_for_8_6(view):
        if needs_float(layer.node) and _is_stored(layer):
            yield layer.name, f"The weight of '{layer.name}' is an INT8 initializer."


@rule(
    "int8-weight-behind-bytes",
    cost="refusal",
    remedy="Export without --int8-weights and for 8.6: TensorRT 8.6.0 stopped at INT8 initializers "
    "in a network that casts bytes and ends in a Gemm (H100), and takes float weights there. It "
    "built one that ends in convolutions (H200). For 10 and 11, which were not tried, export with "
    "--float-weights if they refuse it.",
    example="trtqat export model.onnx --for 8.6 -o mended.onnx",
)
def int8_weight_behind_bytes(view: GraphView) -> Places:
    """INT8 initializers as weights beside an input of bytes, in a graph that 8.6 reads."""
    stored = [layer.name for layer in filter(_is_stored, _layers_for_8_6(view))]
    for name in inputs_of_bytes(view.graph) if stored else ():
        yield (
            name,
            f"Input '{name}' takes bytes, and INT8 initializers are the weights of layers "
            f"({len(stored)}), as of '{stored[0]}'.",
        )


@rule(
    "int8-weights-of-siblings",
    cost="refusal",
    remedy="Export without --int8-weights, which writes float weights there: TensorRT 8.6.0 merges "
    "such layers, and takes no INT8 initializers then (seen of convolutions on an H200).",
    example="trtqat export model.onnx --for 8.6 -o mended.onnx",
)
def int8_weights_of_siblings(view: GraphView) -> Places:
    """INT8 initializers of equal layers of one tensor, in a graph that 8.6 reads."""
    for group in siblings(view) if is_for_8_6(view.opset) else ():
        stored = next(filter(_is_stored, group), None)
        if stored is not None:
            other = group[1] if stored is group[0] else group[0]
            yield (
                stored.name,
                f"The weight of '{stored.name}' is an INT8 initializer, and '{other.name}' reads "
                "the same codes with an equal kernel. Both outputs are INT8.",
            )


@rule(
    "groups-of-few-channels",
    cost="refusal",
    remedy="Leave it in floating point for TensorRT 8.6.0, which has no INT8 kernel for it (seen "
    "on an H200): trtqat quantize does so by itself. For TensorRT 10 and later export with "
    "--opset 19, which says that 8.6 is not meant.",
    example="trtqat quantize model.py:fp32 --data npz:train.npz --for 8.6 -o int8.pt",
)
def groups_of_few_channels(view: GraphView) -> Places:
    """A quantized convolution of groups that take fewer than four channels and make more."""
    for layer in _layers_for_8_6(view):
        groups = groups_of(layer.node)
        if groups is None or not (view.is_int8(layer) and becomes_int8(layer)):
            continue
        if reasons.of_convolution("8.6", *groups):
            count, taken, made = groups
            yield (
                layer.name,
                f"'{layer.name}' has {count} groups, each of which makes {made} channels of "
                f"{taken}, and its output is INT8.",
            )


@rule(
    "operands-of-two-types",
    cost="refusal",
    remedy="Quantize both operands of a layer to INT8, with scales of one type: FP16 in an FP16 "
    "graph, FP32 in any other. TensorRT for RTX 1.7 was seen to refuse INT8 beside INT4 or FP8.",
    example="QuantDescriptor(num_bits=8)  # of the input and of the weight",
)
def operands_of_two_types(view: GraphView) -> Places:
    """A layer whose two operands have codes, or scales, of different types."""
    if is_for_8_6(view.opset):
        return  # there other types of codes and scales are a finding by themselves
    for layer in view.layers:
        data, weight = view.dequantize_before(layer.data), layer.dequantize_weight
        if data is None or weight is None:
            continue
        first, second = view.parameters(data), view.parameters(weight)
        if first.scale is None or second.scale is None:
            continue
        if any(each.dtype in _CODES_OF_ANOTHER_RULE for each in (first, second)):
            continue
        for what, one, other in (
            ("codes", first.dtype, second.dtype),
            ("scales", _scale_dtype(data), _scale_dtype(weight)),
        ):
            if None not in (one, other) and one != other:
                yield layer.name, f"'{layer.name}' has {what} of {one} and of {other}."
                break


@rule(
    "opset-not-read",
    cost="refusal",
    remedy="Export with an older opset: 17 for TensorRT 8.6, 24 for TensorRT 10.",
    example="trtqat export model.py:qat --input x:1x3x32x32 --opset 17 -o model.onnx",
)
def opset_not_read(view: GraphView) -> Places:
    """An opset newer than what the TensorRT reads that lint is asked for."""
    newest = NEWEST_OPSETS.get(view.target)
    if newest is not None and view.opset > newest:
        yield "opset", f"The graph is of opset {view.opset}, and {newest} is the newest one read."


# "codes-not-int8" speaks of these, whatever stands beside them.
_CODES_OF_ANOTHER_RULE = tuple(each for each in CODE_TYPES if each.name != "int8")


def _scale_dtype(node: ir.Node) -> ir.DataType | None:
    return None if node.inputs[1] is None else node.inputs[1].dtype


def _is_on_integers(node: ir.Node) -> bool:
    is_foreign = node.domain not in ONNX_DOMAINS
    return node.op_type in _INTEGER or (is_foreign and node.op_type.startswith(_FOREIGN_PREFIXES))


def _is_stored(layer: Layer) -> bool:
    """Whether a layer's weight is an INT8 initializer."""
    dequantize = layer.dequantize_weight
    return layer.is_weighted and dequantize is not None and quantizer_of(dequantize) is None


def _layers_for_8_6(view: GraphView) -> list[Layer]:
    """The layers of a graph that TensorRT 8.6 reads; of another one none."""
    return view.layers if is_for_8_6(view.opset) else []


RULES = (
    int8_weight_of_matmul,
    int8_weight_behind_bytes,
    bytes_not_cast_first,
    integer_operator,
    foreign_quantizer,
    node_inside_pair,
    bias_dequantized,
    quantized_conv_transpose,
    int8_weights_of_siblings,
    groups_of_few_channels,
    operands_of_two_types,
    opset_not_read,
)
