"""A model whose forward takes more than it is given, called with what it is given."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from trtqat.quant.recipe import unwrapped


def leaves_a_gap(parameters: Sequence[str], names: Sequence[str]) -> bool:
    """Whether forward has parameters before the last given one that are not given."""
    return list(parameters)[: len(names)] != list(names)


def take_given(model: torch.nn.Module, names: Sequence[str]) -> None:
    """Lets a model be called with some of forward's parameters by position, in the order of these.

    ``GPT2LMHeadModel.forward`` has the cache between tokens and mask: positions alone would give
    it the mask. Where the given ones are the first ones, the model stays as it is.

    Args:
        model: Its class becomes a subclass of the same name. A ScriptModule stays as it is.
        names: The parameters that are given, in the order of forward. The others have defaults.
    """
    model = unwrapped(model)
    parameters = _parameters(model)
    by_position = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
    if parameters and leaves_a_gap(by_position, names):
        model.__class__ = _subclass(type(model), tuple(names))


@contextlib.contextmanager
def given_alone(model: torch.nn.Module, names: Sequence[str]) -> Iterator[None]:
    """As ``take_given``, until exit, and hides from the exporters what is not given.

    TorchScript's gives forward all its defaults by position, also those that it takes by name only,
    and makes inputs of the numbers among them.
    """
    model = unwrapped(model)
    kind = type(model)
    others = [each for each in _parameters(model) if each.name not in names]
    defaults = [each for each in others if each.default is not each.empty]
    if any(each.kind is each.KEYWORD_ONLY or each.default is not None for each in defaults):
        model.__class__ = _subclass(kind, tuple(names))
    else:
        take_given(model, names)
    try:
        yield
    finally:
        if type(model) is not kind:
            model.__class__ = kind


def _parameters(model: torch.nn.Module) -> Sequence[inspect.Parameter]:
    """Those of forward; none of a ScriptModule, as no subclass of it can have another forward."""
    if isinstance(model, torch.jit.ScriptModule):
        return ()
    return tuple(inspect.signature(model.forward).parameters.values())


def _subclass(kind: type[torch.nn.Module], names: tuple[str, ...]) -> type[torch.nn.Module]:
    parameters = inspect.signature(kind.forward).parameters
    first = [name for name in names if parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY]

    def forward(self: torch.nn.Module, *values: Any) -> Any:  # noqa: ANN401
        by_name = dict(zip(names, values, strict=True))
        return kind.forward(self, *map(by_name.pop, first), **by_name)

    # What PyTorch's exporters see of forward.
    like = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, like) for name in ("self", *names)])
    forward.__signature__ = signature  # type: ignore[attr-defined]
    members = {
        "forward": forward,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind,), members)
