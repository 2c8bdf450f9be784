"""What modules of a PyTorch model return while it runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def watched(
    modules: Mapping[str, torch.nn.Module], seen: Callable[[str, torch.Tensor], object]
) -> Iterator[None]:
    """Reports the output of every call of some modules, also of those that call ``forward``.

    No hooks: PyTorch takes other ways through a model that has some.

    Args:
        modules: Modules of a model that return one tensor, by name.
        seen: Called with name and output, in the order of execution.
    """

    def reporting(name: str, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        @functools.wraps(forward)
        def run(*args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
            output = forward(*args, **kwargs)
            seen(name, output)
            return output

        return run

    # The instance's dictionary, not setattr: a module may have a __setattr__ of its own.
    before = {module: module.__dict__.get("forward") for module in modules.values()}
    for name, module in modules.items():
        module.__dict__["forward"] = reporting(name, module.forward)
    try:
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward
