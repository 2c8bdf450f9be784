"""The GPUs of this host, as doctor, manifest, report and telemetry have them: one description.

CUDA tells which GPU it is, where cuda.core is installed; NVML tells the rest. Neither must be here:
where both are missing, as they may be on a Jetson, CUDA's own library is asked. A host without it
has no GPU, and one sentence says why.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from trtqat.errors import first_line
from trtqat.host.driver_api import devices_of_driver
from trtqat.host.nvml import NvmlMissing, handle_of, opened_nvml, visible_handles

_LOG = logging.getLogger(__name__)

UNKNOWN = "unknown"
_HIDES_ALL = ("", "-1", "NoDevFiles")
# Its driver is part of the board's Linux, with or without NVML and nvidia-smi.
_WHY_ON_JETSON = (
    "this is a Jetson, whose driver is part of its Linux, and CUDA's library libcuda.so.1 lists no "
    "GPU here"
)


@dataclass(frozen=True)
class Gpu:
    """A GPU at one moment; None is not known.

    Attributes:
        name: As the driver has it, for example ``"NVIDIA H200"``.
        compute_capability: As ``"9.0"``.
        driver: Driver version, or ``"unknown"``.
        cuda: Newest CUDA version that the driver runs, as ``"12.4"``; empty if it is not known.
        sm_clock_mhz: Clock of the multiprocessors now.
        max_sm_clock_mhz: What that clock may reach.
        memory_bytes: Its memory; None of a GPU that is cut into instances, too.
        free_bytes: What of it is free now.
    """

    name: str
    compute_capability: str
    driver: str
    cuda: str
    sm_clock_mhz: int | None = None
    max_sm_clock_mhz: int | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None


def describe_gpu() -> Gpu:
    """CUDA's current GPU, which must work; what NVML does not tell is left out.

    Raises:
        ImportError: cuda.core is not installed.
        CUDAError: CUDA finds no GPU.
    """
    from cuda.core import Device

    device = Device()
    try:
        with opened_nvml() as nvml:
            return _of_both(nvml, device)
    except NvmlMissing as missing:
        _LOG.debug("The GPU is described without NVML: %s.", missing)
        return _of_cuda(device)


def describe_gpus(*, on_jetson: bool = False) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that CUDA lets a process use here, its first one first; never raises.

    Args:
        on_jetson: Whether this is a Jetson, where it says nothing that NVML is missing.

    Returns:
        The GPUs, and why there is none, as the end of a sentence.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in _HIDES_ALL:
        return (), f"CUDA_VISIBLE_DEVICES={visible.strip() or '(empty)'} hides every GPU"
    devices = _cuda_devices()
    try:
        with opened_nvml() as nvml:
            if devices:
                return tuple(_of_both(nvml, device) for device in devices), ""
            try:
                handles = visible_handles(nvml, visible)
                gpus = tuple(_of_nvml(nvml, handle) for handle in handles)
                problem = "NVIDIA's driver lists no GPU"
            except nvml.NVMLError as error:
                gpus, problem = (), f"NVIDIA's driver says: {error}"
    except NvmlMissing as missing:
        gpus, problem = tuple(_of_cuda(device) for device in devices), str(missing)
    gpus = gpus or _of_driver()
    return gpus, "" if gpus else _WHY_ON_JETSON if on_jetson else problem


def _of_driver() -> tuple[Gpu, ...]:
    return tuple(
        Gpu(each.name, each.compute_capability, UNKNOWN, each.cuda) for each in devices_of_driver()
    )


def _cuda_devices() -> tuple[Any, ...]:
    """CUDA's devices in its own order; none where it is not installed or does not start.

    It may refuse for want of memory while the GPU is there: NVML answers then.
    """
    try:
        from cuda.core import Device

        return tuple(Device.get_all_devices())
    # ImportError, CUDAError, or RuntimeError where there is no driver library.
    except Exception as error:
        _LOG.debug("CUDA does not list its devices: %s.", first_line(error))
        return ()


def _of_cuda(device: Any) -> Gpu:  # noqa: ANN401
    from cuda.core import system

    major, minor = device.compute_capability
    cuda = ".".join(map(str, system.get_user_mode_driver_version()[:2]))
    return Gpu(device.name, f"{major}.{minor}", UNKNOWN, cuda)


def _of_both(nvml: Any, device: Any) -> Gpu:  # noqa: ANN401
    """Which GPU and CUDA it is CUDA says, which uses it; the driver's version and state NVML."""
    own = _of_cuda(device)
    try:
        told = _of_nvml(nvml, handle_of(nvml, device))
    except nvml.NVMLError as error:
        _LOG.debug("NVML does not know CUDA's device '%s': %s.", own.name, error)
        return own
    return replace(told, name=own.name, compute_capability=own.compute_capability, cuda=own.cuda)


def _of_nvml(nvml: Any, handle: Any) -> Gpu:  # noqa: ANN401
    def told(function: str, *arguments: Any) -> Any:  # noqa: ANN401
        """An answer of NVML's; None where the GPU, or this container, keeps it back."""
        with suppress(nvml.NVMLError):
            return getattr(nvml, function)(*arguments)
        return None

    capability = told("nvmlDeviceGetCudaComputeCapability", handle)
    version = told("nvmlSystemGetCudaDriverVersion_v2")
    # The whole GPU's memory is not that of an instance of it.
    is_cut = (told("nvmlDeviceGetMigMode", handle) or (0,))[0]
    memory = None if is_cut else told("nvmlDeviceGetMemoryInfo", handle)
    return Gpu(
        name=told("nvmlDeviceGetName", handle) or UNKNOWN,
        compute_capability=".".join(map(str, capability or ())),
        driver=told("nvmlSystemGetDriverVersion") or UNKNOWN,
        cuda=f"{version // 1000}.{version % 1000 // 10}" if version else "",
        sm_clock_mhz=told("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
        max_sm_clock_mhz=told("nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM),
        memory_bytes=int(memory.total) if memory else None,
        free_bytes=int(memory.free) if memory else None,
    )
