"""What multiplies below the functions that are seen, counted by PyTorch's own operators.

TorchScript, an LSTM and an Einsum of three tensors multiply, too, and take no quantizer. So that no
layer is left out without a word, each run is also watched where PyTorch dispatches operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode

from trtqat.errors import QuantizerError

# Told of every operator: its name, arguments and result.
Told = Callable[[str, tuple[tuple[Any, ...], dict[str, Any]], object], None]

# Where the left matrix stands.
_PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
_CONVOLUTIONS = frozenset({"convolution", "_convolution", "convolution_overrideable"})
_ATTENTION = "_scaled_dot_product"
# An LSTM is one operator or many, as the device has it; its weights say what it multiplies.
RECURRENT = frozenset(
    name + cell for name in ("lstm", "gru", "rnn_tanh", "rnn_relu") for cell in ("", "_cell")
)


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tells of every operator that PyTorch runs in this thread."""

    # Else PyTorch itself refuses torch.cond, and speaks of this class.
    supports_higher_order_operators = True

    def __init__(self, told: Told) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._told = told

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            raise QuantizerError(
                f"The model's forward calls torch's '{func.__name__}', which hides what it runs.",
                "Compute both ways and choose by torch.where, or leave it outside of the model.",
            )
        name, _, _overload = func.__name__.partition(".")
        # Else a mode above sees the operator, and the shapes that are asked for, as calls.
        with torch._C.DisableTorchFunction():
            result = func(*args, **kwargs)
            self._told(name, (args, kwargs), result)
        return result


def operator_macs(name: str, args: tuple[Any, ...], result: object) -> int:
    """Multiply-accumulates of one operator on floating-point tensors; 0 for what multiplies none.

    Args:
        name: Of the operator in PyTorch's ``aten``.
        args: Its positional arguments.
        result: What it returned.
    """
    made = result[0] if isinstance(result, (tuple, list)) and result else result
    if not isinstance(made, torch.Tensor) or not made.is_floating_point():
        return 0
    if name in _PRODUCTS:
        return made.numel() * int(args[_PRODUCTS[name]].shape[-1])
    if name in _CONVOLUTIONS:
        data, weight, is_transposed = args[0], args[1], args[6]
        spread = data if is_transposed else made
        return int(spread.numel() * math.prod(weight.shape[1:]))
    if name.startswith(_ATTENTION):
        query, key, value = args[:3]
        scores = math.prod(query.shape[:-1]) * key.shape[-2]
        return int(scores * (query.shape[-1] + value.shape[-1]))
    return 0


def recurrent_macs(tokens: tuple[int, ...], weights: Iterable[tuple[int, ...]]) -> int:
    """Multiply-accumulates of a recurrent layer.

    Args:
        tokens: Shape of its input, the features last.
        weights: Shapes of its matrices, each of which multiplies every token once.
    """
    return math.prod(tokens[:-1]) * sum(map(math.prod, weights))
