"""The functions that TensorRT can run in INT8, and which of their arguments it quantizes.

A model calls one function under many names (``a + b``, ``torch.add``, ``Tensor.add_``), by
position or by keyword. Here each has one name, and its operands have names as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from trtqat.quant.placing.einsum import is_product
from trtqat.quant.placing.written import is_wrapped

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Operand:
    """An argument that may be quantized.

    Attributes:
        name: In a place, as ``"weight"``.
        position: Among the positional arguments.
        keyword: Its name as a keyword argument; several where they differ.
    """

    name: str
    position: int
    keywords: tuple[str, ...] = ()

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """What a call gives for it; None if nothing."""
        if self.position < len(args):
            return args[self.position]
        return next((kwargs[each] for each in self.keywords if each in kwargs), None)

    def replaced(self, args: Sequence[Any], kwargs: Mapping[str, Any], value: object) -> Arguments:
        """The arguments of a call with another value for it."""
        args, kwargs = list(args), dict(kwargs)
        if self.position < len(args):
            args[self.position] = value
        else:
            kwargs[next(each for each in self.keywords if each in kwargs)] = value
        return tuple(args), kwargs


@dataclass(frozen=True, eq=False)
class Function:
    """A function with the arguments that may be quantized.

    Attributes:
        name: In a place, as ``"conv2d"``.
        operands: By position; those of a Concat are one, which is a list.
        kind: What the rules of placement take it for.
        weight_axes: The axis of a constant operand that holds the output channels, by the
            operand's name; negative ones count from the end.
        accepts: Which calls have a place; None for all whose operands are float tensors.
    """

    name: str
    operands: tuple[Operand, ...]
    kind: str
    weight_axes: Mapping[str, int] = field(default_factory=dict)
    accepts: Callable[[Sequence[Any], Mapping[str, Any]], bool] | None = None

    @property
    def multiplies(self) -> bool:
        """Whether this is a layer: a convolution or a product, where the arithmetic is."""
        return self.kind in ("convolution", "transposed", "product")

    def is_counted(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call is one of float tensors: others have no place."""
        if self.accepts is not None and not self.accepts(args, kwargs):
            return False
        if self.kind == "joining":
            given = self.operands[0].of(args, kwargs)
            return isinstance(given, (list, tuple)) and all(map(_is_float, given))
        return all(_is_float(each.of(args, kwargs)) for each in self.operands)


def _is_float(value: object) -> bool:
    """Of what torch.vmap wraps a quantizer has no range, and an exporter no form of it."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return False
    # The compiler cannot look into that function, and wraps nothing itself.
    return torch.compiler.is_compiling() or not is_wrapped(value)


_INPUT = Operand("input", 0, ("input",))
_WEIGHT = Operand("weight", 1, ("weight",))


def _pair(first: int = 0) -> tuple[Operand, ...]:
    keywords = ("input", "self") if not first else ("batch1", "mat1"), ("other", "mat2", "batch2")
    return Operand("left", first, keywords[0]), Operand("right", first + 1, keywords[1])


_CONVOLUTION = {"weight": 0}
_PRODUCT = {"right": -1, "left": -2}
_MATMUL = Function("matmul", _pair(), "product", _PRODUCT)
_REVERSED = Function("matmul", tuple(reversed(_pair())), "product", _PRODUCT)
_ADDED_PRODUCT = Function("matmul_added", _pair(1), "product", _PRODUCT)
_ADD = Function("add", _pair(), "sum")
_MULTIPLY = Function("mul", _pair(), "scaling")
_JOIN = Function("cat", (Operand("inputs", 0, ("tensors",)),), "joining")
_MEAN = Function("mean", (_INPUT,), "pooling")
_LINEAR = Function("linear", (_INPUT, _WEIGHT), "product", {"weight": 0})
ATTENTION = Function(
    "attention",
    (
        Operand("query", 0, ("query",)),
        Operand("key", 1, ("key",)),
        Operand("value", 2, ("value",)),
    ),
    "attention",
)

EINSUM = Function("einsum", _pair(1), "product", accepts=is_product)

_Tensor: Any = torch.Tensor


def _table() -> dict[Callable[..., Any], Function]:
    table: dict[Callable[..., Any], Function] = {functional.linear: _LINEAR}
    for n in "123":
        for prefix, kind, axes in (
            ("conv", "convolution", _CONVOLUTION),
            ("conv_transpose", "transposed", {"weight": 1}),
        ):
            name = f"{prefix}{n}d"
            table[getattr(torch, name)] = Function(name, (_INPUT, _WEIGHT), kind, axes)
        for prefix in ("avg_pool", "adaptive_avg_pool"):
            name = f"{prefix}{n}d"
            pool = Function(name, (_INPUT,), "pooling")
            table.update(
                (getattr(home, name), pool)
                for home in (functional, torch, torch._C._nn)
                if hasattr(home, name)
            )
    names = {
        _MATMUL: ("matmul", "mm", "bmm", "__matmul__"),
        _ADDED_PRODUCT: ("addmm", "baddbmm"),
        _REVERSED: ("__rmatmul__",),
        _ADD: ("add", "add_", "__add__", "__radd__", "__iadd__"),
        _MULTIPLY: ("mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"),
        _JOIN: ("cat", "concat", "concatenate"),
        _MEAN: ("mean",),
    }
    for function, name in itertools.chain.from_iterable(
        ((function, name) for name in each) for function, each in names.items()
    ):
        homes = (home for home in (torch, _Tensor) if hasattr(home, name))
        table.update((getattr(home, name), function) for home in homes)
    table[torch.einsum] = EINSUM
    table[functional.scaled_dot_product_attention] = ATTENTION
    return table


FUNCTIONS = _table()

# What computes the same into a tensor of its own.
OUT_OF_PLACE: Mapping[Callable[..., Any], Callable[..., Any]] = {
    _Tensor.add_: torch.add,
    _Tensor.mul_: torch.mul,
}

# Of tensors with more dimensions than that, each is a Concat; as it is, it is a list in ONNX.
_STACKS: Mapping[Callable[..., Any], int] = {
    torch.hstack: 1,
    torch.column_stack: 1,
    torch.vstack: 0,
    torch.dstack: 2,
}


def plain_call(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """A call as one that quantizers fit: ``hstack`` is ``cat``, ``a + alpha * b`` a plain sum.

    Args:
        func: What is called.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        What computes the same; most calls as they came.
    """
    if func is _Tensor.unflatten:
        # Below a mode torch.compile does not trace the method.
        return torch.unflatten, args, kwargs
    axis = _STACKS.get(func)
    if axis is not None and not kwargs and all(each.dim() > max(axis, 1) for each in args[0]):
        return torch.cat, (args[0], axis), {}
    if "alpha" in kwargs and FUNCTIONS.get(func) is _ADD and all(map(_is_float, args[:2])):
        alpha = kwargs["alpha"]
        others = {name: value for name, value in kwargs.items() if name != "alpha"}
        if len(args) == 2:
            return func, (args[0], args[1] if alpha == 1 else args[1] * alpha), others
    return func, args, kwargs
