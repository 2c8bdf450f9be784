"""NVML, the library of NVIDIA's driver that tells of its GPUs: opened here and nowhere else.

nvidia-ml-py, which finds it, is small and needs nothing, so every installation has it; the library
itself comes with the driver, and is missing in containers that were started without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class NvmlMissing(Exception):  # noqa: N818 - it is no error of the user's, and never leaves the room
    """NVML tells nothing here; the message says why, as the end of a sentence."""


@contextmanager
def opened_nvml() -> Iterator[Any]:
    """The module ``pynvml``, ready to be asked; many may have it open at once.

    Raises:
        NvmlMissing: There is no driver, or it does not answer.
    """
    try:
        import pynvml
    except ImportError as error:
        raise NvmlMissing(
            f"the package nvidia-ml-py, which asks NVIDIA's driver, cannot be imported ({error})"
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            why = "there is no NVIDIA driver, or its library NVML is not in this container"
        else:
            why = f"NVIDIA's driver says: {error}"
        raise NvmlMissing(why) from error
    try:
        yield pynvml
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def handle_of(nvml: Any, device: Any) -> Any:  # noqa: ANN401
    """NVML's handle of one of CUDA's devices: each of the two numbers them in its own order.

    Args:
        nvml: The open NVML.
        device: A ``cuda.core.Device``.

    Raises:
        NVMLError: NVML does not know the device.
    """
    # With the prefix of NVIDIA's tools or without, by the version of cuda.core.
    uuid = str(device.uuid).removeprefix("GPU-").removeprefix("MIG-")
    # A GPU that is cut into instances gives the UUID of the instance.
    for prefix in ("GPU-", "MIG-"):
        with suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(prefix + uuid)
    return nvml.nvmlDeviceGetHandleByPciBusId(device.pci_bus_id)


def visible_handles(nvml: Any, visible: str | None) -> list[Any]:  # noqa: ANN401
    """Handles of the GPUs that ``CUDA_VISIBLE_DEVICES`` names, where CUDA itself cannot be asked.

    Args:
        nvml: The open NVML.
        visible: The variable's value: numbers, or UUIDs or how they begin; None or empty names
            all. So do names of which none is here: inside a container they can be those of the
            host outside.

    Raises:
        NVMLError: NVML lists nothing.
    """
    return named_handles(nvml, visible) or _all_handles(nvml)


def named_handles(nvml: Any, visible: str | None) -> list[Any]:  # noqa: ANN401
    """Handles of the GPUs that ``CUDA_VISIBLE_DEVICES`` names; none where no name is of one here.

    Args:
        nvml: The open NVML.
        visible: The variable's value.

    Raises:
        NVMLError: NVML lists nothing.
    """
    handles = _all_handles(nvml)
    named = []
    for name in (visible or "").replace(" ", "").split(","):
        found = _named(nvml, handles, name)
        # As CUDA does: what follows a name that is none is hidden.
        if found is None:
            break
        named.append(found)
    return named


def _all_handles(nvml: Any) -> list[Any]:  # noqa: ANN401
    return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]


def _named(nvml: Any, handles: list[Any], name: str) -> Any:  # noqa: ANN401
    if name.isdigit():
        return handles[int(name)] if int(name) < len(handles) else None
    if name.startswith("MIG-"):
        with suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(name)
        return None
    for handle in handles if name else ():
        with suppress(nvml.NVMLError):
            if str(nvml.nvmlDeviceGetUUID(handle)).startswith(name):
                return handle
    return None
