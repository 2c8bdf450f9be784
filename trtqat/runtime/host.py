"""What this host is and has: GPUs, driver, TensorRT's flavours, packages. Nothing is required."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Flavour = Literal["full", "lean", "dispatch"]

# Wheels without NVIDIA's metapackage have the bindings under a name of their own, which find
# their libraries only after the package of the libraries was imported.
_MODULES: tuple[tuple[Flavour, str, str], ...] = (
    ("full", "tensorrt", ""),
    ("lean", "tensorrt_lean", ""),
    ("lean", "tensorrt_lean_bindings", "tensorrt_lean_libs"),
    ("dispatch", "tensorrt_dispatch", ""),
    ("dispatch", "tensorrt_dispatch_bindings", "tensorrt_dispatch_libs"),
)
_PACKAGES = ("torch", "pytorch-quantization", "onnx", "onnxruntime", "cuda-core", "cuda-python")
_FIELDS = "name,compute_cap,driver_version,memory.total,memory.free"


@dataclass(frozen=True)
class TensorRTFlavour:
    """A TensorRT runtime that can be imported.

    Attributes:
        flavour: ``full`` builds and runs; ``lean`` and ``dispatch`` run version-compatible plans.
        module: What to import.
        version: Its version string.
        path: Where its Python package lies.
    """

    flavour: Flavour
    module: str
    version: str
    path: str


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
        gpus: The GPUs; empty if there is none.
        gpu_problem: Why there is none.
        tensorrt: TensorRT's flavours.
        tensorrt_problems: Flavours that are installed but cannot be imported, with the reason.
        packages: Versions of the packages that matter, of those that are installed.
    """

    platform: str
    python: str
    driver: str
    gpus: tuple[HostGpu, ...]
    gpu_problem: str
    tensorrt: tuple[TensorRTFlavour, ...]
    tensorrt_problems: tuple[str, ...]
    packages: dict[str, str]


def describe_host() -> Host:
    """Looks at this host; never raises for what it lacks."""
    driver, gpus, gpu_problem = _gpus()
    flavours, problems = _flavours()
    packages = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[package] = importlib.metadata.version(package)
    return Host(
        platform=f"{platform.system()}-{platform.machine()}",
        python=platform.python_version(),
        driver=driver,
        gpus=gpus,
        gpu_problem=gpu_problem,
        tensorrt=flavours,
        tensorrt_problems=problems,
        packages=packages,
    )


def _gpus() -> tuple[str, tuple[HostGpu, ...], str]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "", (), "there is no nvidia-smi, so no NVIDIA driver, or it is not on the PATH"
    try:
        done = subprocess.run(
            [command, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return "", (), f"nvidia-smi does not run ({type(error).__name__})"
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        return "", (), f"nvidia-smi says: {lines[0] if lines else 'nothing'}"
    return parse_gpus(done.stdout)


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


def _flavours() -> tuple[tuple[TensorRTFlavour, ...], tuple[str, ...]]:
    found: dict[Flavour, TensorRTFlavour] = {}
    problems = []
    for flavour, name, libraries in _MODULES:
        if flavour in found:
            continue
        try:
            if libraries:
                importlib.import_module(libraries)
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, libraries):
                problems.append(f"{name}: {error}")
            continue
        # A missing or foreign shared library surfaces as either, depending on the wheel.
        except (ImportError, OSError, RuntimeError) as error:
            problems.append(f"{name}: {str(error).splitlines()[0]}")
            continue
        path = str(Path(module.__file__).parent) if module.__file__ else ""
        version = str(getattr(module, "__version__", "unknown"))
        found[flavour] = TensorRTFlavour(flavour, name, version, path)
    return tuple(found.values()), tuple(problems)
