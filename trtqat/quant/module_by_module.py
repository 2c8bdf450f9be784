"""Runs a model module by module, so that each of its quantizers is called.

In eval mode PyTorch computes ``nn.TransformerEncoderLayer`` and ``nn.MultiheadAttention`` by one
fused operator, which takes the weights of the layers inside and never calls them: their quantizers
are skipped, without a word. A submodule that ``torch.compile`` compiled calls what it had when it
was compiled. Whatever runs a model with quantizers does so in here.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import torch

_lock = threading.Lock()
# How many scopes are open in all threads, and what the last one to end undoes.
_depths: dict[str, int] = {}
_undo: dict[str, contextlib.ExitStack] = {}


@contextlib.contextmanager
def module_by_module(*, compiled: bool = False) -> Iterator[None]:
    """Switches off what computes several modules at once; may be nested, and run in threads.

    PyTorch has these switches once for the process. They are back as they were when the last
    scope ends.

    Args:
        compiled: Whether ``torch.compile`` is what runs the model, so that it stays on.
    """
    switches = {"attention": _without_fused_attention}
    if not compiled:
        switches["compiler"] = _without_compiler
    with contextlib.ExitStack() as stack:
        for name, switch in switches.items():
            stack.enter_context(_shared(name, switch()))
        yield


@contextlib.contextmanager
def _shared(name: str, switch: contextlib.AbstractContextManager[None]) -> Iterator[None]:
    """Enters a switch with the first scope that wants it, and leaves it with the last."""
    with _lock:
        if not _depths.get(name):
            _undo[name] = contextlib.ExitStack()
            _undo[name].enter_context(switch)
        _depths[name] = _depths.get(name, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _depths[name] -= 1
            if not _depths[name]:
                _undo.pop(name).close()


@contextlib.contextmanager
def _without_fused_attention() -> Iterator[None]:
    mha = torch.backends.mha
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    # Whoever compiled a module has imported it; importing it here would take a second.
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
