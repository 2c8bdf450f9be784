"""The memory of one input or output: on the device, and pinned on the host."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from trtqat.tensors import Array, TensorSpec


class Buffer:
    """A device buffer, a pinned host buffer of the same size, and the latter as an array.

    Attributes:
        device: The ``cuda.core.Buffer`` on the device.
        pinned: The one on the host.
        host: The latter's memory, an array of the tensor's shape and dtype.
    """

    def __init__(self, device: Any, stream: Any, spec: TensorSpec) -> None:  # noqa: ANN401
        """Allocates both.

        Args:
            device: The ``cuda.core.Device``.
            stream: What orders the allocation: a ``cuda.core.Stream``.
            spec: The tensor, no dimension open.
        """
        from cuda.core import LegacyPinnedMemoryResource

        dtype = np.dtype(spec.dtype)
        # An empty tensor still needs an address.
        size = max(1, math.prod(spec.shape) * dtype.itemsize)
        self.device = device.allocate(size, stream=stream)
        self.pinned = LegacyPinnedMemoryResource().allocate(size)
        # Not through DLPack: NumPy makes such an array read-only.
        memory = (ctypes.c_ubyte * size).from_address(int(self.pinned.handle))
        # A caller may hold a view behind the session's end: it keeps the memory.
        memory.owner = self.pinned  # type: ignore[attr-defined]
        count = math.prod(spec.shape)
        self.host: Array = np.frombuffer(memoryview(memory), dtype, count).reshape(spec.shape)

    def close(self, stream: Any) -> None:  # noqa: ANN401
        """Frees the device's memory, and the host's once no view of it is left.

        Args:
            stream: What orders the release.
        """
        self.device.close(stream)
        # Not closed: that would take it from under the views.
        del self.host
        self.pinned = None
