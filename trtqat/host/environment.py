"""The host that a figure was measured on: versions, processor, GPU."""

from __future__ import annotations

from dataclasses import dataclass

from trtqat.host.chosen_gpu import chosen_gpu
from trtqat.host.gpu import Gpu, describe_gpu
from trtqat.host.system import cpu_name, installed_versions, platform_name, python_version

# What has a part in a measurement.
_PACKAGES = (
    *("trtqat", "numpy", "onnxruntime", "torch", "cuda-core", "cuda-bindings"),
    *("tensorrt", "tensorrt-rtx-cu12-bindings", "tensorrt-rtx-cu13-bindings"),
)


@dataclass(frozen=True)
class Environment:
    """Where a command ran.

    Attributes:
        platform: Operating system and machine, as ``"Linux-x86_64"``.
        python: Version.
        cpu: Model name, if the system tells.
        packages: Versions of the packages that matter, of those that are installed.
        gpu: The GPU, if the command used one.
        device: Which of several GPUs that was, as ``--device`` chose; None if nobody chose.
    """

    platform: str
    python: str
    cpu: str
    packages: dict[str, str]
    gpu: Gpu | None = None
    device: int | None = None


def describe_environment(*, with_gpu: bool) -> Environment:
    """Reads what this host is.

    Args:
        with_gpu: Whether the GPU belongs to the description; asks CUDA, which must work.
    """
    return Environment(
        platform=platform_name(),
        python=python_version(),
        cpu=cpu_name(),
        packages=installed_versions(_PACKAGES),
        gpu=describe_gpu() if with_gpu else None,
        device=chosen_gpu() if with_gpu else None,
    )
