"""The memory of one input or output: on the device, and pinned on the host."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trtqat.errors import UsageError
from trtqat.runtime.host_quantizer import HostQuantizer
from trtqat.tensors import Array, Arrays, TensorSpec, check_numbers


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


def fill(
    hosts: Mapping[str, Array],
    inputs: Arrays,
    quantizers: Mapping[str, HostQuantizer],
    name: str,
) -> None:
    """Copies inputs to where a session reads them, floats as codes where it reads these.

    Args:
        hosts: The session's arrays, by input name.
        inputs: Of the same shapes, by name.
        quantizers: Of the inputs that are codes.
        name: Of the session's model, for messages.

    Raises:
        UsageError: One is missing, or is not such an array (``copy_into``).
    """
    check_given(hosts, inputs, name)
    for each, host in hosts.items():
        given, subject = np.asarray(inputs[each]), f"Input '{each}' of '{name}'"
        quantizer = quantizers.get(each)
        if quantizer is not None and np.issubdtype(given.dtype, np.floating):
            _check_shape(host, given, subject)
            quantizer(given, host)
        else:
            copy_into(host, given, subject)


def check_given(names: Iterable[str], inputs: Arrays, name: str) -> None:
    """Refuses a query that lacks an input, before any of it is copied.

    Args:
        names: Of the inputs that are read.
        inputs: Arrays by name.
        name: Of the session's model, for messages.

    Raises:
        UsageError: One is missing.
    """
    for each in names:
        if each not in inputs:
            given = ", ".join(f"'{other}'" for other in inputs) or "none"
            raise UsageError(
                f"'{name}' takes an input '{each}', and was given {given}.",
                "Give an array for each input, by its name.",
            )


def copy_into(host: Array, array: Array, name: str) -> None:
    """Copies an input to where a session reads it.

    Args:
        host: The session's array.
        array: Of the same shape, and of a type of the same kind.
        name: The input in words, the subject of a message.

    Raises:
        UsageError: It has another shape, a type of another kind, as floats where bytes are read,
            or holds a number that does not fit.
    """
    array = np.asarray(array)
    _check_shape(host, array, name)
    if array.dtype == host.dtype:
        np.copyto(host, array)
        return
    if not np.can_cast(array.dtype, host.dtype, "same_kind"):
        raise UsageError(
            f"{name} takes {host.dtype}, and was given {array.dtype}.",
            "Give it arrays of that type. What takes the bytes of images normalises them itself.",
        )
    with np.errstate(over="ignore"):
        np.copyto(host, array, casting="same_kind")
    try:
        check_numbers(array, host)
    except OverflowError as error:
        raise UsageError(
            f"{name} takes {host.dtype}, which {error} does not fit.",
            f"Give it numbers that {host.dtype} has.",
        ) from None


def _check_shape(host: Array, array: Array, name: str) -> None:
    # NumPy would repeat one image for all of a batch.
    if array.shape != host.shape:
        raise UsageError(
            f"{name} takes the shape {host.shape}, and was given {array.shape}.",
            "Give it an array of that shape, or make a session for that batch and size.",
        )
