"""Multiply-accumulates of a node, from the shapes of its tensors and for one sample.

Counted is what multiplies tensors with each other and sums: convolutions, matrix products,
recurrences, attention. What multiplies each element once, pools, normalizes or interpolates is
not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from trtqat.graph.lenses.einsum import einsum_dims

PerSample = Callable[[ir.Value], int | None]

MICROSOFT = "com.microsoft"


def operator_of(node: ir.Node) -> str:
    """The operator, as ``"Conv"`` or ``"com.microsoft::FusedConv"``."""
    is_standard = node.domain in ("", "ai.onnx")
    return node.op_type if is_standard else f"{node.domain}::{node.op_type}"


def is_counted(node: ir.Node) -> bool:
    """Whether a node is of an operator that has a formula here."""
    return operator_of(node) in _FORMULAS


def macs_of_node(node: ir.Node, per_sample: PerSample) -> int | None:
    """Multiply-accumulates for one sample; None if the shapes do not tell, or for no formula.

    Args:
        node: A node of the graph, or of a subgraph in it.
        per_sample: The elements of a tensor that one sample has; None if that is not known.
    """
    formula = _FORMULAS.get(operator_of(node))
    return None if formula is None else formula(node, per_sample)


def shape_of(value: ir.Value | None) -> list[int | None]:
    """With None for an open dimension; empty if it is not known."""
    if value is None:
        return []
    constant = value.const_value
    shape = value.shape if constant is None else constant.shape
    dims = [] if shape is None else [shape[axis] for axis in range(len(shape))]
    return [dim if isinstance(dim, int) else None for dim in dims]


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if len(node.inputs) > index else None


def _elements(value: ir.Value | None, per_sample: PerSample) -> int | None:
    return None if value is None else per_sample(value)


def _product(*factors: int | None) -> int | None:
    known = [factor for factor in factors if factor is not None]
    return math.prod(known) if len(known) == len(factors) else None


def _integer(node: ir.Node, name: str) -> int | None:
    attribute = node.attributes.get(name)
    return None if attribute is None else attribute.as_int()


def _convolution(weight: int) -> Callable[[ir.Node, PerSample], int | None]:
    """Each output element needs in_channels / groups · kernel."""

    def formula(node: ir.Node, per_sample: PerSample) -> int | None:
        # A weight is (out, in / groups, kernel): each output meets the rest.
        rest = shape_of(_input(node, weight))[1:]
        return _product(_elements(node.outputs[0], per_sample), *rest) if rest else None

    return formula


def _transposed_convolution(node: ir.Node, per_sample: PerSample) -> int | None:
    """The work of the convolution from its output to its input."""
    rest = shape_of(_input(node, 1))[1:]
    return _product(_elements(node.inputs[0], per_sample), *rest) if rest else None


def _matrix_product(node: ir.Node, per_sample: PerSample) -> int | None:
    """Each output element needs as many as the operands share."""
    data = shape_of(node.inputs[0])
    shared = data[0 if _integer(node, "transA") else -1] if data else None
    return _product(_elements(node.outputs[0], per_sample), shared)


def _with_columns(weight: int, transposed: str = "") -> Callable[[ir.Node, PerSample], int | None]:
    """Each input element meets every column of the weight; the output's shape is not needed."""

    def formula(node: ir.Node, per_sample: PerSample) -> int | None:
        data, other = shape_of(node.inputs[0]), shape_of(_input(node, weight))
        if len(other) < 2 or len(other) > len(data):
            return None
        columns = other[-2 if transposed and _integer(node, transposed) else -1]
        return _product(_elements(node.inputs[0], per_sample), columns)

    return formula


def _with_attribute(node: ir.Node, per_sample: PerSample) -> int | None:
    """The weight is packed; its number of columns is the attribute N."""
    return _product(_elements(node.inputs[0], per_sample), _integer(node, "N"))


def _recurrence(node: ir.Node, per_sample: PerSample) -> int | None:
    """Each step meets the input's weights and the recurrent ones, of all gates and directions."""
    sizes = [_product(*shape_of(_input(node, index))) for index in (1, 2)]
    weights = None if None in sizes else sum(size for size in sizes if size is not None)
    if not weights:
        return None
    # Of (steps, batch, input), or of the results: (steps, directions, batch, hidden).
    data, results = node.inputs[0], node.outputs[0]
    if data is not None and data.shape is not None and len(data.shape) == 3:
        first, second = data.shape[0], data.shape[1]
    elif results.shape is not None and len(results.shape) == 4:
        first, second = results.shape[0], results.shape[-2]
    else:
        return None
    by_batch = (first, second) if _integer(node, "layout") else (second, first)
    return _product(per_sample(ir.Value(shape=ir.Shape(by_batch))), weights)


def _einsum(node: ir.Node, per_sample: PerSample) -> int | None:
    """As many as there are combinations of all indices."""
    dims = einsum_dims(node)
    if dims is None:
        return None
    return per_sample(ir.Value(shape=ir.Shape(dims)))


def _attention(node: ir.Node, per_sample: PerSample) -> int | None:
    """Query by key, and the weights by value: each over all keys."""
    keys = shape_of(_input(node, 1))
    past = _input(node, 4)
    length = keys[-2] if len(keys) >= 3 else None
    if past is not None:
        before = shape_of(past)
        length = length + before[-2] if length and len(before) == 4 and before[-2] else None
    query, result = (_elements(each, per_sample) for each in (node.inputs[0], node.outputs[0]))
    return _product(length, None if query is None or result is None else query + result)


def _packed_attention(node: ir.Node, per_sample: PerSample) -> int | None:
    """ONNX Runtime's: one product makes query, key and value, then as ``_attention``."""
    data, weight = shape_of(node.inputs[0]), shape_of(_input(node, 1))
    elements = _elements(node.inputs[0], per_sample)
    sizes = node.attributes.get("qkv_hidden_sizes")
    is_plain = sizes is None and _input(node, 4) is None
    if not is_plain or len(data) != 3 or len(weight) != 2 or elements is None:
        return None
    length, width, columns = data[1], data[2], weight[1]
    if length is None or not width or columns is None:
        return None
    return elements * columns + 2 * (elements // width) * length * (columns // 3)


def _multi_head_attention(node: ir.Node, per_sample: PerSample) -> int | None:
    query, key, value = (shape_of(_input(node, index)) for index in range(3))
    elements = _elements(node.inputs[0], per_sample)
    if not len(query) == len(key) == len(value) == 3 or elements is None or not query[2]:
        return None
    if len(node.inputs) > 6 and any(each is not None for each in node.inputs[6:8]):
        return None  # keys of before
    width = None if value[2] is None else query[2] + value[2]
    return _product(elements // query[2], width, key[1])


def _affine_grid(node: ir.Node, per_sample: PerSample) -> int | None:
    theta = shape_of(node.inputs[0])
    return _product(_elements(node.outputs[0], per_sample), theta[-1] if theta else None)


def _causal_convolution(node: ir.Node, per_sample: PerSample) -> int | None:
    weight = shape_of(_input(node, 1))
    return _product(_elements(node.inputs[0], per_sample), weight[-1] if weight else None)


def _unknown(node: ir.Node, per_sample: PerSample) -> None:
    """Multiplies, and its shapes do not say how much."""


_FORMULAS: dict[str, Callable[[ir.Node, PerSample], int | None]] = {
    "AffineGrid": _affine_grid,
    "Attention": _attention,
    "CausalConvWithState": _causal_convolution,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "ConvTranspose": _transposed_convolution,
    "DFT": _unknown,
    "DeformConv": _convolution(1),
    "Einsum": _einsum,
    "GRU": _recurrence,
    "Gemm": _matrix_product,
    "LSTM": _recurrence,
    "LinearAttention": _unknown,
    "MatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    "QLinearConv": _convolution(3),
    "QLinearMatMul": _matrix_product,
    "RNN": _recurrence,
    "STFT": _unknown,
    f"{MICROSOFT}::Attention": _packed_attention,
    f"{MICROSOFT}::DynamicQuantizeLSTM": _recurrence,
    f"{MICROSOFT}::DynamicQuantizeMatMul": _with_columns(1),
    f"{MICROSOFT}::FusedConv": _convolution(1),
    f"{MICROSOFT}::FusedGemm": _with_columns(1, "transB"),
    f"{MICROSOFT}::FusedMatMul": _with_columns(1, "transB"),
    f"{MICROSOFT}::GemmFloat8": _with_columns(1, "transB"),
    f"{MICROSOFT}::MatMulBnb4": _with_attribute,
    f"{MICROSOFT}::MatMulInteger16": _with_columns(1),
    f"{MICROSOFT}::MatMulIntegerToFloat": _with_columns(1),
    f"{MICROSOFT}::MatMulNBits": _with_attribute,
    f"{MICROSOFT}::MultiHeadAttention": _multi_head_attention,
    f"{MICROSOFT}::NhwcConv": _convolution(1),
    f"{MICROSOFT}::NhwcFusedConv": _convolution(1),
    f"{MICROSOFT}::QAttention": _packed_attention,
    f"{MICROSOFT}::QGemm": _with_columns(3, "transB"),
    f"{MICROSOFT}::QLinearConv": _convolution(3),
    f"{MICROSOFT}::TransposeMatMul": _with_columns(1, "transB"),
}
