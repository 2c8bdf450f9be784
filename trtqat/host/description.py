"""What this host is and has: GPUs, driver, TensorRT's flavours, packages. Nothing is required."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass

from trtqat.host.flavours import TensorRTFlavour, find_flavours

_PACKAGES = ("torch", "pytorch-quantization", "onnx", "onnxruntime", "cuda-core", "cuda-python")
_FIELDS = "name,compute_cap,driver_version,memory.total,memory.free"


@dataclass(frozen=True)
class HostGpu:
    """A GPU as nvidia-smi tells it.

    Attributes:
        name: For example ``"NVIDIA H200"``.
        compute_capability: As ``"9.0"``.
        memory_bytes: Its memory.
        free_bytes: What of it is free now.
    """

    name: str
    compute_capability: str
    memory_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Host:
    """A host.

    Attributes:
        platform: Operating system and machine, as ``"Linux-x86_64"``.
        python: Its version.
        driver: NVIDIA's driver version; empty if there is none.
        cuda: Newest CUDA version that the driver runs, as ``"12.4"``; empty if it is not known, or
            was not asked for.
        gpus: The GPUs; empty if there is none.
        gpu_problem: Why there is none.
        tensorrt: TensorRT's flavours.
        tensorrt_problems: Flavours that are installed but cannot be imported, with the reason.
        packages: Versions of the packages that matter, of those that are installed.
    """

    platform: str
    python: str
    driver: str
    cuda: str
    gpus: tuple[HostGpu, ...]
    gpu_problem: str
    tensorrt: tuple[TensorRTFlavour, ...]
    tensorrt_problems: tuple[str, ...]
    packages: dict[str, str]


def describe_host(*, with_cuda: bool = False) -> Host:
    """Looks at this host; never raises for what it lacks.

    Args:
        with_cuda: Whether to ask for the CUDA version, which no check of a plan needs: it takes
            another run of nvidia-smi.
    """
    driver, gpus, gpu_problem = _gpus()
    flavours, problems = find_flavours()
    packages = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[package] = importlib.metadata.version(package)
    return Host(
        platform=f"{platform.system()}-{platform.machine()}",
        python=platform.python_version(),
        driver=driver,
        cuda=_cuda() if with_cuda and gpus else "",
        gpus=gpus,
        gpu_problem=gpu_problem,
        tensorrt=flavours,
        tensorrt_problems=problems,
        packages=packages,
    )


def _gpus() -> tuple[str, tuple[HostGpu, ...], str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return "", (), f"CUDA_VISIBLE_DEVICES={visible.strip() or '(empty)'} hides every GPU"
    query = [f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    table, problem = _nvidia_smi(*query, *([f"--id={visible}"] if visible else []))
    if problem and visible:
        # Inside a container the numbers can be those of the host outside.
        table, problem = _nvidia_smi(*query)
    return ("", (), problem) if problem else parse_gpus(table)


def _cuda() -> str:
    found = re.search(r"CUDA Version\s*:\s*([\d.]+)", _nvidia_smi("--version")[0])
    return found[1] if found else ""


def _nvidia_smi(*arguments: str) -> tuple[str, str]:
    """What nvidia-smi prints, and why it does not."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return "", "there is no nvidia-smi, so no NVIDIA driver, or it is not on the PATH"
    try:
        done = subprocess.run(
            [command, *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return "", f"nvidia-smi does not run ({type(error).__name__})"
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        return "", f"nvidia-smi says: {lines[0] if lines else 'nothing'}"
    return done.stdout, ""


def parse_gpus(table: str) -> tuple[str, tuple[HostGpu, ...], str]:
    """Reads nvidia-smi's answer.

    Args:
        table: Lines of name, compute capability, driver, memory and free memory in MiB.

    Returns:
        Driver version, GPUs, and why there are none.
    """
    driver, gpus = "", []
    for line in table.strip().splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(_FIELDS.split(",")):
            continue
        name, capability, driver, *memory = fields
        total, free = (int(each) * 2**20 if each.isdigit() else 0 for each in memory)
        gpus.append(HostGpu(name, capability, total, free))
    return driver, tuple(gpus), "" if gpus else "nvidia-smi lists no GPU"
