"""Where a forward calls functions: a trace may call some that no other run does.

What keeps a grid of its first run may make it anew while it is traced, as a cache does whose keys
are sizes, which are tensors or symbols then. Those calls stand where no run with a grid comes by,
and are not counted.
"""

from __future__ import annotations

import os
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# A call within a function, by its place in the bytecode.
_Site = tuple[types.CodeType, int]
# By the identity of a module's ``_modules``, which the proxies that torch.export runs have as well.
Sites = dict[int, set[_Site]]

# With the separator: torchvision lies beside it.
_TORCH = f"{Path(torch.__file__).parent}{os.sep}"


class _Active(threading.local):
    sites: Sites | None = None
    is_learning = False


_ACTIVE = _Active()


@contextmanager
def learned_sites() -> Iterator[Sites]:
    """Around runs of a model: where modules with quantizers call functions."""
    with _active({}, is_learning=True) as sites:
        yield sites


@contextmanager
def at_sites(sites: Sites) -> Iterator[None]:
    """Around runs of the same model, in which calls at other places are not counted."""
    with _active(sites, is_learning=False):
        yield


def is_known(children: object) -> bool:
    """Whether the call that a mode has just been asked for counts.

    Args:
        children: The ``_modules`` of the module that makes it.
    """
    if _ACTIVE.sites is None:
        return True
    known = _ACTIVE.sites.setdefault(id(children), set())
    site = _site()
    if _ACTIVE.is_learning:
        known.add(site)
    return site in known


@contextmanager
def _active(sites: Sites, *, is_learning: bool) -> Iterator[Sites]:
    before = _ACTIVE.sites, _ACTIVE.is_learning
    _ACTIVE.sites, _ACTIVE.is_learning = sites, is_learning
    try:
        yield sites
    finally:
        _ACTIVE.sites, _ACTIVE.is_learning = before


def _site() -> _Site:
    # Of ``is_known``, and of the mode that asks.
    frame = sys._getframe(2).f_back
    while frame is not None and frame.f_code.co_filename.startswith(_TORCH):
        frame = frame.f_back
    assert frame is not None
    return frame.f_code, frame.f_lasti
