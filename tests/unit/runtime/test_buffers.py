"""A buffer of a session: memory of the host and of the GPU, and who still refers to it."""

from __future__ import annotations

import ctypes
import sys
import weakref
from types import SimpleNamespace

import pytest

from trtqat.runtime.buffers import Buffer
from trtqat.tensors import TensorSpec


class Pinned:
    """Pinned memory, which is gone with the last that refers to it."""

    def __init__(self, size: int) -> None:
        self.memory = ctypes.create_string_buffer(size)
        self.handle = ctypes.addressof(self.memory)


def test_pinned_memory_stays_as_long_as_a_view_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Pinned]] = []

    def allocate(size: int) -> Pinned:
        pinned = Pinned(size)
        made.append(weakref.ref(pinned))
        return pinned

    resource = SimpleNamespace(allocate=allocate)
    core = SimpleNamespace(LegacyPinnedMemoryResource=lambda: resource)
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(core=core))
    monkeypatch.setitem(sys.modules, "cuda.core", core)
    freed: list[str] = []
    on_device = SimpleNamespace(close=lambda stream: freed.append(stream))
    buffer = Buffer(
        SimpleNamespace(allocate=lambda size, stream: on_device), "s", TensorSpec("x", (2, 3))
    )
    assert (buffer.host.shape, buffer.host.flags.writeable) == ((2, 3), True)
    view = buffer.host[1:]
    buffer.close("s")
    assert freed == ["s"]
    view[...] = 1
    assert made[0]() is not None
    del view
    assert made[0]() is None
