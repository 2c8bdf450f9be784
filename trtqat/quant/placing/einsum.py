"""``torch.einsum`` of two tensors as the one product that it is.

ONNX's Einsum has no INT8 kernel in TensorRT; MatMul has.
"""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trtqat.quant.int8_quantizer import Int8Quantizer


@dataclass(frozen=True)
class Axes:
    """The letters of an equation, by what the product does with them.

    Attributes:
        left: Of the first operand, in its order.
        right: Of the second operand.
        out: Of the result.
        both: In both operands and in the result: a stack of products.
        rows: In the first operand and in the result.
        columns: In the second operand and in the result.
        summed: In both operands alone.
    """

    left: str
    right: str
    out: str
    both: str
    rows: str
    columns: str
    summed: str


@functools.cache
def axes_of(equation: str) -> Axes | None:
    """Reads an equation; None where it is no single product of two tensors."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    left, comma, right = inputs.partition(",")
    sides = (left, right, out)
    letters = all(side.isalpha() and len(set(side)) == len(side) for side in sides)
    if not (arrow and comma and letters):
        return None
    shared = [each for each in left if each in right]
    axes = Axes(
        left,
        right,
        out,
        "".join(each for each in shared if each in out),
        "".join(each for each in left if each not in right),
        "".join(each for each in right if each not in left),
        "".join(each for each in shared if each not in out),
    )
    is_product = axes.summed and set(axes.rows + axes.columns) <= set(out)
    return axes if is_product and set(out) <= set(left + right) else None


def is_product(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of ``torch.einsum`` is one product of two tensors."""
    if len(args) != 3 or kwargs or not isinstance(args[0], str):
        return False
    if not all(isinstance(each, torch.Tensor) for each in args[1:]):
        return False
    return axes_of(spelled_out(args[0], args[1].dim(), args[2].dim())) is not None


@functools.cache
def spelled_out(equation: str, left_dim: int, right_dim: int) -> str:
    """An equation with letters for the dimensions that an ellipsis stands for.

    Args:
        equation: Of two operands.
        left_dim: Number of dimensions of the first one.
        right_dim: Of the second one.
    """
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    left, comma, right = inputs.partition(",")
    if "..." not in equation or not arrow or not comma:
        return equation
    free = "".join(each for each in string.ascii_letters if each not in equation)
    # Dimensions are aligned at the last one, as in every broadcast.
    counts = [
        dim - len(side.replace("...", "")) if "..." in side else 0
        for side, dim in ((left, left_dim), (right, right_dim))
    ]
    letters = free[: max(0, *counts)]
    left, right = (
        side.replace("...", letters[len(letters) - count :])
        for side, count in zip((left, right), counts, strict=True)
    )
    return f"{left},{right}->{out.replace('...', letters)}"


def einsum(
    quantizers: Mapping[str, Int8Quantizer], equation: str, left: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """What ``torch.einsum`` computes, as one ``matmul`` of quantized operands.

    Args:
        quantizers: By operand, ``left`` and ``right``.
        equation: Two operands and the result: ``"bhqd,bhkd->bhqk"``, ``"...d,dk->...k"``.
        left: One dimension for each of its letters.
        right: One dimension for each of its letters.

    Returns:
        One dimension for each letter of the result.
    """
    axes = axes_of(spelled_out(equation, left.dim(), right.dim()))
    assert axes is not None
    sizes = {
        **dict(zip(axes.left, left.shape, strict=True)),
        **dict(zip(axes.right, right.shape, strict=True)),
    }
    rows = _arranged(quantizers["left"](left), axes.left, (axes.both, axes.rows, axes.summed))
    columns = _arranged(
        quantizers["right"](right), axes.right, (axes.both, axes.summed, axes.columns)
    )
    made = rows @ columns
    order = axes.both + axes.rows + axes.columns
    if not len(axes.rows) == len(axes.columns) == 1:
        stack = made.shape[: len(axes.both)]
        made = made.reshape([*stack, *(sizes[each] for each in axes.rows + axes.columns)])
    return made.permute([order.index(each) for each in axes.out])


def _arranged(tensor: torch.Tensor, letters: str, groups: tuple[str, str, str]) -> torch.Tensor:
    """The tensor with its axes in groups, of which the last two become one axis each."""
    stack, *two = groups
    tensor = tensor.permute([letters.index(each) for each in "".join(groups)])
    if all(len(each) == 1 for each in two):
        return tensor
    sizes = dict(zip("".join(groups), tensor.shape, strict=True))
    shape = [sizes[each] for each in stack]
    return tensor.reshape([*shape, *(math.prod(sizes[each] for each in group) for group in two)])
