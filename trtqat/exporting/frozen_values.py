"""What forward read of its inputs' values while it was traced, and the graph holds for good.

A trace has one branch of an ``if``, and a number that ``item()`` gave is a constant. Where that
follows from shapes, weights or buffers it is the same for every query. Where it follows from an
input's values, the graph computes what the model computes of inputs like the sample alone. PyTorch
warns of all of them alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from trtqat.user_code import place_now

# What hands a tensor's values to Python.
_READS = frozenset(
    (
        *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__"),
        *("__array__", "item", "tolist", "numpy", "equal", "allclose", "is_nonzero"),
    )
)
# Their first input gives them its shape, not its values.
_OF_SHAPE = frozenset(
    f"aten::{name}"
    for name in (
        *("size", "numel", "dim", "zeros_like", "ones_like", "full_like", "empty_like"),
        *("rand_like", "randn_like", "new_zeros", "new_ones", "new_full", "new_empty"),
    )
)


class _Watching(TorchFunctionMode):
    """Sees what becomes a number, a bool or an array.

    Attributes:
        places: Where values of inputs did, as ``net.py, line 7``, each once.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self._inputs = inputs
        self.places: dict[str, None] = {}

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        del types
        reads = getattr(func, "__name__", "") in _READS
        read = args if reads and torch._C._get_tracing_state() is not None else ()
        tensors = [each for each in read if isinstance(each, torch.Tensor)]
        if any(_follows_from_inputs(each, self._inputs) for each in tensors):
            self.places[place_now() or "an installed package"] = None
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def watching_values(inputs: int) -> Iterator[Sequence[str]]:
    """Yields the lines, filled by the end, where a model that is traced reads its inputs' values.

    Args:
        inputs: How many tensors the model takes: the trace has them before the parameters.
    """
    places: list[str] = []
    with _Watching(inputs) as watching:
        yield places
    places += watching.places


def _follows_from_inputs(tensor: torch.Tensor, inputs: int) -> bool:
    """Whether a traced tensor's values follow from those of the first inputs of the trace."""
    internals: Any = torch._C
    try:
        waiting = [internals._get_value_trace(tensor)]
    except RuntimeError:  # of no tensor of the trace
        return False
    seen = set()
    while waiting:
        value = waiting.pop()
        name = value.debugName()
        if name in seen:
            continue
        seen.add(name)
        node = value.node()
        if node.kind() == "prim::Param":
            if [each.debugName() for each in node.outputs()].index(name) < inputs:
                return True
            continue
        given = list(node.inputs())
        waiting += given[1:] if node.kind() in _OF_SHAPE else given
    return False
