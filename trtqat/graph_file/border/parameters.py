"""Parameters that belong together have shapes that fit, where onnx's inference does not look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from trtqat.graph_file.border.damage import Damage, name_of

Types = Mapping[str, onnx.TypeProto]

# Positions of inputs that have one number for each channel, all as many.
_PER_CHANNEL = {"BatchNormalization": (1, 2, 3, 4), "InstanceNormalization": (1, 2)}
# Positions of inputs of one shape, a single number in whatever rank.
_EQUAL = {"QuantizeLinear": (2,), "DequantizeLinear": (2,)}


def check_parameters(nodes: Sequence[onnx.NodeProto], types: Types) -> None:
    """Checks them.

    Args:
        nodes: Of one graph.
        types: What is known of its tensors.

    Raises:
        Damage: They do not fit.
    """
    for node in nodes:
        for position in _PER_CHANNEL.get(node.op_type, ()):
            first, other = _shape(node, 1, types), _shape(node, position, types)
            _compare(node, position, first, other, is_flat=True)
        for position in _EQUAL.get(node.op_type, ()):
            first, other = _shape(node, 1, types), _shape(node, position, types)
            if not (_is_single(first) or _is_single(other)):
                _compare(node, position, first, other, is_flat=False)


def shape_of(kind: onnx.TypeProto) -> list[int | None] | None:
    """The dimensions that a type gives; None if it gives none."""
    if kind.WhichOneof("value") != "tensor_type" or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]


def differ(first: Sequence[int | None], second: Sequence[int | None]) -> bool:
    """Whether two shapes cannot be the same."""
    return len(first) != len(second) or any(
        a is not None and b is not None and a != b for a, b in zip(first, second, strict=True)
    )


def _compare(
    node: onnx.NodeProto,
    position: int,
    first: Sequence[int | None] | None,
    other: Sequence[int | None] | None,
    *,
    is_flat: bool,
) -> None:
    if other is not None and is_flat and len(other) != 1:
        raise Damage(
            f"The {name_of(node)} reads '{node.input[position]}' of {_words(other)}, which has "
            "not one dimension."
        )
    if first is not None and other is not None and differ(first, other):
        raise Damage(
            f"The {name_of(node)} reads '{node.input[1]}' of {_words(first)} and "
            f"'{node.input[position]}' of {_words(other)}, which must be of one shape."
        )


def _shape(node: onnx.NodeProto, position: int, types: Types) -> list[int | None] | None:
    kind = types.get(node.input[position]) if position < len(node.input) else None
    return None if kind is None else shape_of(kind)


def _is_single(shape: Sequence[int | None] | None) -> bool:
    return shape is None or all(dim == 1 for dim in shape)


def _words(shape: Sequence[int | None]) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in shape)})"
