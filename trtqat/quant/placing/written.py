"""What a call writes in place, and which memory that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def changed_by(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    """The tensor that a call works on in place, or writes to.

    Args:
        name: Of the function, as ``"copy_"``.
        args: By position.
        kwargs: By name.
    """
    if isinstance(out := kwargs.get("out"), torch.Tensor):
        return out
    in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
    if in_place and args and isinstance(args[0], torch.Tensor):
        return args[0]
    return None


def is_wrapped(tensor: torch.Tensor) -> bool:
    """Whether ``torch.vmap`` and its like show a function less than there is of a tensor."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def storage_of(tensor: torch.Tensor) -> int | None:
    """Where a tensor's memory lies, which its views share; None of one that has none of its own."""
    while is_wrapped(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (NotImplementedError, RuntimeError):
        return None
