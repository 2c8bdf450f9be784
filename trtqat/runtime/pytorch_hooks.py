"""What modules of a PyTorch model return while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch


@contextmanager
def watched(
    modules: Mapping[str, torch.nn.Module], seen: Callable[[str, torch.Tensor], object]
) -> Iterator[None]:
    """Reports the output of every call of some modules.

    Args:
        modules: Modules of a model that return one tensor, by name.
        seen: Called with name and output, in the order of execution.
    """

    def hook(name: str) -> Callable[..., None]:
        # What a hook returns replaces the module's output: nothing may be returned.
        def report(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
            seen(name, output)

        return report

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
