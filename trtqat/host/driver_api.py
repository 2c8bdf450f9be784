"""NVIDIA's driver asked through its own library, where neither NVML nor a package is there.

A Jetson's driver may come without NVML, and its ``nvidia-smi`` may be missing. CUDA works there, so
CUDA's library itself is asked which GPUs it has. No context is made, which would take memory.
"""

from __future__ import annotations

import ctypes
import logging
import os
from dataclasses import dataclass

_LOG = logging.getLogger(__name__)

_LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
_LONGEST_NAME = 256
# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h, the same in all versions.
_MAJOR, _MINOR = 75, 76


@dataclass(frozen=True)
class DriverDevice:
    """A GPU as CUDA's library has it.

    Attributes:
        name: As ``"Orin"``.
        compute_capability: As ``"8.7"``.
        cuda: Newest CUDA version that the driver runs, as ``"12.6"``.
    """

    name: str
    compute_capability: str
    cuda: str


class _Refused(Exception):  # noqa: N818 - it never leaves this file
    """A call of the driver's that returned an error."""


def devices_of_driver(library: str = _LIBRARY) -> tuple[DriverDevice, ...]:
    """CUDA's devices in its own order; none where there is no driver or it refuses.

    Args:
        library: Name or path of CUDA's library.
    """
    try:
        driver = ctypes.CDLL(library)
        _call(driver, "cuInit", 0)
        version = _number(driver, "cuDriverGetVersion")
        cuda = f"{version // 1000}.{version % 1000 // 10}"
        count = _number(driver, "cuDeviceGetCount")
        return tuple(_device(driver, index, cuda) for index in range(count))
    # OSError: there is none. AttributeError: it is no such library.
    except (OSError, AttributeError, _Refused) as error:
        _LOG.debug("CUDA's library '%s' lists no GPU: %s.", library, error)
        return ()


def _device(driver: ctypes.CDLL, index: int, cuda: str) -> DriverDevice:
    device = _number(driver, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(_LONGEST_NAME)
    _call(driver, "cuDeviceGetName", name, _LONGEST_NAME, device)
    major, minor = (
        _number(driver, "cuDeviceGetAttribute", attribute, device) for attribute in (_MAJOR, _MINOR)
    )
    return DriverDevice(name.value.decode(errors="replace"), f"{major}.{minor}", cuda)


def _number(driver: ctypes.CDLL, function: str, *arguments: int) -> int:
    """What a function writes through its first argument."""
    value = ctypes.c_int(0)
    _call(driver, function, ctypes.byref(value), *arguments)
    return value.value


def _call(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(driver, function)(*arguments)
    if status != 0:
        raise _Refused(f"{function} returned {status}")
