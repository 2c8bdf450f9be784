"""The host that a figure was measured on: versions, GPU, driver, clocks."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import dataclass

_PACKAGES = ("trtqat", "numpy", "onnxruntime", "tensorrt", "torch", "cuda-core", "cuda-bindings")


@dataclass(frozen=True)
class Gpu:
    """The first GPU.

    Attributes:
        name: As the driver has it.
        compute_capability: As ``"9.0"``.
        driver: Driver version, or ``"unknown"``.
        cuda: Newest CUDA version that the driver runs, as ``"12.4"``.
        sm_clock_mhz: Clock of the multiprocessors now, if nvidia-smi tells.
        max_sm_clock_mhz: Its ceiling, likewise.
    """

    name: str
    compute_capability: str
    driver: str
    cuda: str
    sm_clock_mhz: int | None = None
    max_sm_clock_mhz: int | None = None


@dataclass(frozen=True)
class Environment:
    """Where a command ran.

    Attributes:
        platform: Operating system and machine, as ``"Linux-x86_64"``.
        python: Version.
        cpu: Model name, if the system tells.
        packages: Versions of the packages that matter, of those that are installed.
        gpu: The GPU, if the command used one.
    """

    platform: str
    python: str
    cpu: str
    packages: dict[str, str]
    gpu: Gpu | None = None


def describe_environment(*, with_gpu: bool) -> Environment:
    """Reads what this host is.

    Args:
        with_gpu: Whether the GPU belongs to the description; asks CUDA, which must work.
    """
    return Environment(
        platform=f"{platform.system()}-{platform.machine()}",
        python=platform.python_version(),
        cpu=_cpu_model(),
        packages=_versions(),
        gpu=describe_gpu() if with_gpu else None,
    )


def describe_gpu() -> Gpu:
    """Reads the first GPU through cuda.core, and its clocks through nvidia-smi if it is there."""
    from cuda.core import Device, system

    device = Device()
    major, minor = device.compute_capability
    clocks = _nvidia_smi("clocks.sm", "clocks.max.sm")
    return Gpu(
        name=device.name,
        compute_capability=f"{major}.{minor}",
        driver=(_nvidia_smi("driver_version") or ["unknown"])[0],
        cuda=".".join(map(str, system.get_user_mode_driver_version()[:2])),
        sm_clock_mhz=int(clocks[0]) if clocks else None,
        max_sm_clock_mhz=int(clocks[1]) if clocks else None,
    )


def _nvidia_smi(*fields: str) -> list[str]:
    """Fields of the first GPU, or nothing: nvidia-smi is missing in many containers."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        line = subprocess.run(
            [command, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return []
    values = [value.strip() for value in line.split(",")]
    return values if all(value and value[0].isdigit() for value in values) else []


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
