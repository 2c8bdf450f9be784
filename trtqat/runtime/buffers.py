"""The memory of one input or output: on the device, and pinned on the host."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from trtqat.errors import UsageError
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


def copy_into(host: Array, array: Array, name: str) -> None:
    """Copies an input to where a session reads it.

    Args:
        host: The session's array.
        array: Of the same shape, and of a type of the same kind.
        name: The input in words, the subject of a message.

    Raises:
        UsageError: It has a type of another kind, as floats where bytes are read.
    """
    try:
        np.copyto(host, array, casting="same_kind")
    except TypeError:
        raise UsageError(
            f"{name} takes {host.dtype}, and was given {array.dtype}.",
            "Give it arrays of that type. What takes the bytes of images normalises them itself.",
        ) from None
