"""NVML and CUDA as a host with two GPUs answered, for what is made of their answers.

Nothing is proven about the libraries: the answers are recorded ones (tests/data/gpus), the error
and the constants are nvidia-ml-py's own.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "gpus" / "two-h200.json").read_text())


class RecordedNvml:
    """NVML's functions; a handle is a GPU's record. ``changes`` stand in for other hosts."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM

    def __init__(self, **changes: Any) -> None:
        self.gpus = [{**gpu, **changes} for gpu in RECORDED["gpus"]]

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802
        return self._first("uuid", uuid)

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> Any:  # noqa: N802
        return self._first("pci_bus_id", bus_id)

    def nvmlDeviceGetUUID(self, handle: Any) -> Any:  # noqa: N802
        return self._told(handle["uuid"])

    def nvmlDeviceGetName(self, handle: Any) -> Any:  # noqa: N802
        return self._told(handle["name"])

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any) -> Any:  # noqa: N802
        return self._told(handle["compute_capability"])

    def nvmlDeviceGetMigMode(self, handle: Any) -> Any:  # noqa: N802
        return self._told(handle["mig_mode"])

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:  # noqa: N802
        total, free = self._told(handle["memory"])
        return SimpleNamespace(total=total, free=free)

    def nvmlDeviceGetClockInfo(self, handle: Any, clock: int) -> Any:  # noqa: N802
        return self._told(handle["clock"])

    def nvmlDeviceGetMaxClockInfo(self, handle: Any, clock: int) -> Any:  # noqa: N802
        return self._told(handle["max_clock"])

    def nvmlSystemGetDriverVersion(self) -> Any:  # noqa: N802
        return self._told(RECORDED["driver"])

    def nvmlSystemGetCudaDriverVersion_v2(self) -> Any:  # noqa: N802
        return self._told(RECORDED["cuda_version"])

    def _first(self, key: str, value: str) -> Any:
        return self._told(next((gpu for gpu in self.gpus if gpu[key] == value), None))

    def _told(self, value: Any) -> Any:
        if value is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return value


def cuda_devices(order: list[int]) -> tuple[Any, ...]:
    """CUDA's devices, as ``cuda.core.Device`` describes them."""
    gpus = [RECORDED["gpus"][index] for index in order]
    return tuple(
        SimpleNamespace(
            name=gpu["name"],
            uuid=gpu["uuid"].removeprefix("GPU-"),
            pci_bus_id=gpu["pci_bus_id"],
            compute_capability=tuple(gpu["compute_capability"]),
        )
        for gpu in gpus
    )
