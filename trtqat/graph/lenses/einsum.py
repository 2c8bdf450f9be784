"""The dimensions that an Einsum runs over."""

from __future__ import annotations

import onnx_ir as ir

_ELLIPSIS = "..."

Dim = int | str | None


def einsum_dims(node: ir.Node) -> list[Dim] | None:
    """The sizes of all indices of an Einsum, those of its result first.

    Args:
        node: An Einsum.

    Returns:
        A number, or the name of an open dimension, for each index; None if the equation does
        not fit the shapes, or a rank is not known.
    """
    attribute = node.attributes.get("equation")
    equation = "" if attribute is None else attribute.as_string().replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs):
        return None
    sizes: dict[str, Dim] = {}
    for term, value in zip(terms, node.inputs, strict=True):
        shape = None if value is None else value.shape
        if shape is None:
            return None
        labels = _labels(term, len(shape))
        if labels is None:
            return None
        for label, dim in zip(labels, shape, strict=True):
            size = dim if isinstance(dim, int) else dim.value
            # A size of 1 is broadcast.
            if sizes.get(label) in (None, 1):
                sizes[label] = size
    result = _written(right, sizes) if arrow else []
    return [sizes[label] for label in dict.fromkeys((*result, *sizes)) if label in sizes]


def _labels(term: str, rank: int) -> list[str] | None:
    """One label for each dimension; those of an ellipsis are numbered from its end."""
    before, dots, behind = term.partition(_ELLIPSIS)
    count = rank - len(before) - len(behind)
    if (not dots and count) or count < 0:
        return None
    return [*before, *(f"{_ELLIPSIS}{count - at}" for at in range(count)), *behind]


def _written(term: str, sizes: dict[str, Dim]) -> list[str]:
    """The labels of the result, in its order."""
    before, dots, behind = term.partition(_ELLIPSIS)
    hidden = sorted((each for each in sizes if each.startswith(_ELLIPSIS)), reverse=True)
    return [*before, *(hidden if dots else ()), *behind]
