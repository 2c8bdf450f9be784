"""Weights that a model computes of others, as ``torch.nn.utils.parametrizations`` has them.

What is computed of weights alone is the same for every input. It needs no operator in ONNX, which
has none for the matrix exponential of ``orthogonal``, nor, from TorchScript, for the power
iteration of ``spectral_norm``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.nn.utils.parametrize import is_parametrized

from trtqat.quant.placing.multiplying import Operators


@contextlib.contextmanager
def computed_weights(model: torch.nn.Module, run: Callable[[], object]) -> Iterator[None]:
    """Has a model hold the weights behind its parametrizations as parameters, until exit.

    One with a quantizer inside is computed by each run, as before: a trace is to see the quantizer.
    So is one that is another after a run, as it reads what forward has set.
    ``torch.nn.utils.parametrize.cached`` would not do, as it lets nothing be traced by TorchScript.

    Args:
        model: In eval mode, its quantizers replaced.
        run: Runs it on other samples than those that it ran on last.
    """
    held: list[tuple[torch.nn.Module, type[torch.nn.Module], Iterable[str]]] = []
    try:
        before = {module: _weights_of(module) for module in model.modules()}
        if any(before.values()):
            run()
        for module, found in before.items():
            weights = _still_so(module, found)
            if weights:
                held.append((module, type(module), weights))
                module._parameters.update(weights)
                module.__class__ = _subclass(type(module), weights)
        yield
    finally:
        for module, kind, names in held:
            module.__class__ = kind
            for name in names:
                del module._parameters[name]


def _weights_of(module: torch.nn.Module) -> Mapping[str, torch.nn.Parameter]:
    found = {}
    names: Any = module.parametrizations if is_parametrized(module) else ()
    for name in names:
        weight, quantizes = _computed(module, name)
        if not quantizes:
            found[name] = torch.nn.Parameter(weight, requires_grad=False)
    return found


def _computed(module: torch.nn.Module, name: str) -> tuple[torch.Tensor, bool]:
    """A weight, and whether something is quantized for it."""
    operators: list[str] = []
    with torch.no_grad(), Operators(lambda ran, *_: operators.append(ran)):
        weight = getattr(module, name)
    return weight, any("quantize" in each for each in operators)


def _still_so(
    module: torch.nn.Module, found: Mapping[str, torch.nn.Parameter]
) -> Mapping[str, torch.nn.Parameter]:
    with torch.no_grad():
        return {
            name: weight
            for name, weight in found.items()
            if torch.equal(getattr(module, name), weight)
        }


def _subclass(kind: type[torch.nn.Module], names: Iterable[str]) -> type[torch.nn.Module]:
    """A class of the same name, in which these are parameters and no properties."""
    members: dict[str, Any] = {name: _parameter(name) for name in names}
    for name in ("__module__", "__qualname__", "__doc__"):
        members[name] = getattr(kind, name)
    return type(kind.__name__, (kind,), members)


def _parameter(name: str) -> property:
    return property(lambda module: module._parameters[name])
