"""Lets the calls of a module be seen: its class becomes a subclass of the same name.

The model stays the user's own: the same modules with the same parameters. A module whose forward
may call what is quantized becomes an object of a subclass of its class, whose ``forward`` runs
under the mode of ``interception.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from trtqat.quant.placing.interception import ACTIVE, Frame, Watcher, running

_classes: dict[type[nn.Module], type[nn.Module]] = {}


@contextmanager
def watched_run(model: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Shows a watcher every call of a model's run, with the module that it belongs to."""
    modules = {module: name for name, module in model.named_modules()}
    before = [module for module in modules if not is_instrumented(module)]
    for module in before:
        instrument(module)
    before = [module for module in before if is_instrumented(module)]
    ACTIVE.watcher, ACTIVE.paths = watcher, modules
    hooks = _scripts_framed(modules)
    try:
        yield
    finally:
        ACTIVE.watcher = ACTIVE.paths = None
        for hook in hooks:
            hook.remove()
        for module in before:
            restore_class(module)


def _scripts_framed(modules: Mapping[nn.Module, str]) -> list[RemovableHandle]:
    """Hooks that make a ScriptModule the module that runs, as no subclass of it can."""
    if not any(isinstance(each, torch.jit.ScriptModule) for each in modules):
        return []

    def begins(module: nn.Module, _args: object) -> None:
        if isinstance(module, torch.jit.ScriptModule) and ACTIVE.mode is not None:
            ACTIVE.mode.frames.append(Frame(modules.get(module, ""), None))

    def ends(module: nn.Module, _args: object, _result: object) -> None:
        if isinstance(module, torch.jit.ScriptModule) and ACTIVE.mode is not None:
            ACTIVE.mode.frames.pop()

    return [
        register_module_forward_pre_hook(begins),
        register_module_forward_hook(ends, always_call=True),
    ]


def is_instrumented(module: nn.Module) -> bool:
    """Whether a module's own calls are seen."""
    return hasattr(type(module), "_trtqat_kind")


def instrument(module: nn.Module) -> None:
    """Lets a module's own calls be seen, and quantized where it has places.

    Its class becomes a subclass of the same name. Copies and pickles of it are such modules, too.
    """
    # A ScriptModule runs no Python, and is no object whose class could change.
    if not is_instrumented(module) and not isinstance(module, torch.jit.ScriptModule):
        module.__class__ = _instrumented(type(module))


def restore_class(module: nn.Module) -> None:
    """Makes of an instrumented module what it was."""
    kind: type[nn.Module] = vars(type(module))["_trtqat_kind"]
    module.__class__ = kind


def _instrumented(kind: type[nn.Module]) -> type[nn.Module]:
    if kind not in _classes:
        _classes[kind] = _subclass(kind)
    return _classes[kind]


def _subclass(kind: type[nn.Module]) -> type[nn.Module]:
    @functools.wraps(kind.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with running(self):
            return kind.forward(self, *args, **kwargs)

    def reduce(self: nn.Module, _protocol: int) -> tuple[Any, ...]:
        # Python 3.10 has no object.__getstate__.
        own: Any = getattr(self, "__getstate__", None)
        return _new, (kind,), self.__dict__ if own is None else own()

    members = {
        "forward": forward,
        "__reduce_ex__": reduce,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "_trtqat_kind": kind,
    }
    return type(kind.__name__, (kind,), members)


def _new(kind: type[nn.Module]) -> nn.Module:
    made: nn.Module = kind.__new__(_instrumented(kind))
    return made
