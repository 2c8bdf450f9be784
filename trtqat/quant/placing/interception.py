"""Calls functions of a model with quantized operands, where its places say so.

The forward of an instrumented module (``instrumented.py``) runs under a ``TorchFunctionMode``. It
sees every call of a PyTorch function, counts those of ``functions.py`` by name, and hands the
operands that have a place to the module's quantizers. A call belongs to the innermost instrumented
module around it, so what other modules do counts nothing there.

Because PyTorch asks modes first, its fused transformer layers switch themselves off meanwhile.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from trtqat.errors import QuantizerError
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.placing.attention import attention, packed_projection
from trtqat.quant.placing.call_sites import is_known
from trtqat.quant.placing.einsum import einsum
from trtqat.quant.placing.functions import (
    ATTENTION,
    EINSUM,
    FUNCTIONS,
    OUT_OF_PLACE,
    Function,
    plain_call,
)

# The child that holds a module's quantizers; its name stands in the keys of the state dict.
CHILD = "int8"
# Where the forward of an instrumented module stands.
_FORWARD_OF = f"{__package__}.instrumented"


class OtherCallsError(QuantizerError):
    """A forward took another way than when it was quantized."""


@dataclass(frozen=True)
class Call:
    """Where a function is called.

    Attributes:
        function: Its name in ``functions.py``.
        index: How manieth call of it in one run of its module's forward, from 0.
    """

    function: str
    index: int


class PlacedQuantizers(nn.Module):
    """The quantizers of one module: its child ``int8``.

    Attributes:
        calls: By call and operand, the attribute of this child that quantizes it.
        counts: How often the forward of the module calls each function; what it was quantized
            with.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__()
        self.calls: dict[Call, dict[str, str]] = {}
        self.counts = dict(counts)

    def place(self, call: Call, operand: str, quantizer: Int8Quantizer) -> str:
        """Puts a quantizer at an operand of a call, and returns its attribute's name."""
        name = operand if call == Call(call.function, 0) and self._is_free(operand) else ""
        name = name or f"{call.function}_{call.index}_{operand}"
        self.add_module(name, quantizer)
        self.calls.setdefault(call, {})[operand] = name
        return name

    def _is_free(self, name: str) -> bool:
        return name not in self._modules and not hasattr(self, name)


def quantizers_in(module: nn.Module) -> PlacedQuantizers | None:
    """The child of a module that holds its quantizers."""
    # A ScriptModule has no child of ours, and its children in no dict.
    if isinstance(module, torch.jit.ScriptModule):
        return None
    child = module._modules.get(CHILD)
    return child if isinstance(child, PlacedQuantizers) else None


class Watcher(Protocol):
    """Who looks at the calls of a run: ``recording.py``."""

    def entered(self, path: str) -> None:
        """The forward of a module begins."""

    def calling(self) -> None:
        """A call begins; none begins before it has returned."""

    def called(
        self,
        path: str,
        call: Call | None,
        function: Function | None,
        name: str,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        result: object,
    ) -> None:
        """A call has returned."""


@dataclass
class Frame:
    """One run of an instrumented module's forward."""

    path: str
    quantizers: PlacedQuantizers | None
    # Tells whose run it is: torch.export runs proxies, which have a module's own ``_modules``.
    children: object = None
    # No Counter: torch.compile traces through it, and knows dicts alone.
    counts: dict[str, int] = field(default_factory=dict)
    has_gradient: bool = field(default_factory=torch.is_grad_enabled)


class _Interception(TorchFunctionMode):
    """Quantizes operands while it is the mode of a thread."""

    def __init__(self, watcher: Watcher | None) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self._watcher = watcher

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func is functional.multi_head_attention_forward:
            # Inside are products of its own, which are to be seen as well.
            with self:
                return _without_dispatch(func)(*args, **kwargs)
        function = call = None
        if func.__hash__ is not None:
            func, args, kwargs = plain_call(func, args, kwargs)
            function = FUNCTIONS.get(func)
        if self._watcher is not None:
            self._watcher.calling()
        is_call = function is not None and function.is_counted(args, kwargs)
        if function is not None and is_call and is_known(self.frames[-1].children):
            call = self._counted(function)
            result = self._quantized(func, function, call, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if self._watcher is not None:
            path = self.frames[-1].path
            self._watcher.called(path, call, function, _name_of(func), (args, kwargs), result)
        return result

    def _counted(self, function: Function) -> Call:
        counts = self.frames[-1].counts
        index = counts.get(function.name, 0)
        counts[function.name] = index + 1
        return Call(function.name, index)

    def _quantized(
        self,
        func: Any,  # noqa: ANN401
        function: Function,
        call: Call,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        child = self.frames[-1].quantizers
        names = child.calls.get(call, {}) if child is not None else {}
        if not names:
            return func(*args, **kwargs)
        if self.frames[-1].has_gradient and not torch.is_grad_enabled():
            _check_not_computed_again(function)
        quantizers = {operand: getattr(child, name) for operand, name in names.items()}
        if function is ATTENTION:
            return attention(quantizers, *args, **kwargs)
        if function is EINSUM:
            return einsum(quantizers, *args, **kwargs)
        changed, first = args, args[0]
        for operand in function.operands:
            quantizer = quantizers.get(operand.name)
            if quantizer is None:
                continue
            value = operand.of(changed, kwargs)
            if isinstance(value, (list, tuple)):
                value = [quantizer(each) for each in value]
            else:
                value = quantizer(value)
            changed, kwargs = operand.replaced(changed, kwargs, value)
        apart = OUT_OF_PLACE.get(func)
        if apart is not None and changed[0] is not first:
            return first.copy_(apart(*changed, **kwargs))
        return func(*changed, **kwargs)


def _check_not_computed_again(function: Function) -> None:
    """A backward that computes a part of a forward again does so outside of the forward.

    Its calls would have no quantizers there, and so other gradients, without a word: checkpoint
    with ``use_reentrant=True`` takes what it computes then. Without it PyTorch itself compares.
    """
    frame = sys._getframe(1)
    while frame.f_code.co_filename != torch.utils.checkpoint.__file__:
        is_forward = frame.f_globals.get("__name__") == _FORWARD_OF
        if is_forward or frame.f_back is None:
            return
        frame = frame.f_back
    raise QuantizerError(
        f"A forward gives torch.utils.checkpoint a part of itself, in which '{function.name}' is "
        "quantized; the gradients would be those of the float model.",
        "Give checkpoint a module: put that part into one of its own, or checkpoint this one from "
        "outside.",
    )


def _name_of(func: Any) -> str:  # noqa: ANN401
    return str(getattr(func, "__name__", ""))


@functools.cache
def _without_dispatch(func: types.FunctionType) -> types.FunctionType:
    """The same function that does not ask for modes once more, and so calls what it calls."""
    known = {**func.__globals__, "has_torch_function": lambda _: False}
    if "_in_projection_packed" in known:
        known["_in_projection_packed"] = packed_projection(known["_in_projection_packed"])
    made = types.FunctionType(
        func.__code__, known, func.__name__, func.__defaults__, func.__closure__
    )
    made.__kwdefaults__ = func.__kwdefaults__
    return made


class _Active(threading.local):
    mode: _Interception | None = None
    watcher: Watcher | None = None
    paths: Mapping[nn.Module, str] | None = None


ACTIVE = _Active()


def current_path() -> str:
    """Dotted name of the module whose forward runs in this thread; empty for the model's own."""
    mode = ACTIVE.mode
    return mode.frames[-1].path if mode is not None else ""


def are_running(children: object) -> bool:
    """Whether this thread runs the forward of the module whose ``_modules`` these are."""
    mode = ACTIVE.mode
    return mode is not None and any(frame.children is children for frame in mode.frames)


@contextmanager
def running(module: nn.Module) -> Iterator[None]:
    """Around the forward of an instrumented module."""
    paths = ACTIVE.paths or {}
    frame = Frame(paths.get(module, ""), quantizers_in(module), module.__dict__["_modules"])
    if ACTIVE.watcher is not None:
        ACTIVE.watcher.entered(frame.path)
    mode = ACTIVE.mode
    if mode is not None:
        mode.frames.append(frame)
        try:
            yield
        finally:
            mode.frames.pop()
    else:
        ACTIVE.mode = mode = _Interception(ACTIVE.watcher)
        mode.frames.append(frame)
        try:
            with mode:
                yield
        finally:
            ACTIVE.mode = None
    _check_counts(frame, module)


def _check_counts(frame: Frame, module: nn.Module) -> None:
    """A forward that took another way has its quantizers at other calls than it was given."""
    if frame.quantizers is None or ACTIVE.watcher is not None:
        return
    for function, expected in frame.quantizers.counts.items():
        actual = frame.counts.get(function, 0)
        quantized = any(call.function == function for call in frame.quantizers.calls)
        if quantized and actual != expected:
            raise OtherCallsError(
                f"The forward of {type(module).__name__} called '{function}' {actual} times, but "
                f"{expected} times when it was quantized, so its quantizers would stand elsewhere.",
                "Let the same calls run in training and evaluation: put what runs sometimes only "
                "into a module of its own. One that keeps a grid from its first run has to run "
                "before it gets its quantizers.",
            )
