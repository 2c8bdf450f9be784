"""What modules of a PyTorch model return while it runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

Forward = Callable[..., torch.Tensor]


def watched(
    modules: Mapping[str, torch.nn.Module], seen: Callable[[str, torch.Tensor], object]
) -> AbstractContextManager[None]:
    """Reports the output of every call of some modules, also of those that call ``forward``.

    Args:
        modules: Modules of a model that return one tensor, by name.
        seen: Called with name and output, in the order of execution.
    """

    def reporting(name: str, forward: Forward) -> Forward:
        @functools.wraps(forward)
        def run(*args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
            output = forward(*args, **kwargs)
            seen(name, output)
            return output

        return run

    return wrapped_forwards(modules, reporting)


@contextmanager
def wrapped_forwards(
    modules: Mapping[str, torch.nn.Module], wrap: Callable[[str, Forward], Forward]
) -> Iterator[None]:
    """Puts something around the ``forward`` of some modules, and takes it away at exit.

    No hooks: PyTorch takes other ways through a model that has some.

    Args:
        modules: By name.
        wrap: Given name and ``forward``, what takes its place. It gets by position what the module
            is given first, also where that is given by name.
    """
    # The instance's dictionary, not setattr: a module may have a __setattr__ of its own.
    before = {module: module.__dict__.get("forward") for module in modules.values()}
    for name, module in modules.items():
        module.__dict__["forward"] = _by_position(module.forward, wrap(name, module.forward))
    try:
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward


def _by_position(forward: Forward, run: Forward) -> Forward:
    def call(*args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
        if not args and kwargs:
            # What stands in for a quantizer takes any name.
            first = next(iter(inspect.signature(forward).parameters))
            args = (kwargs.pop(first if first in kwargs else next(iter(kwargs))),)
        return run(*args, **kwargs)

    return call
