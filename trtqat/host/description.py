"""What this host is and has: GPUs, driver, TensorRT's flavours, packages. Nothing is required."""

from __future__ import annotations

from dataclasses import dataclass, field

from trtqat.host.flavours import BrokenFlavour, TensorRTFlavour, find_flavours
from trtqat.host.gpu import UNKNOWN, Gpu, describe_gpus
from trtqat.host.surroundings import HostKind, Surroundings, find_kind, read_surroundings
from trtqat.host.system import installed_versions, platform_name, python_version

# What a command of trtqat's needs.
_PACKAGES = ("torch", "pytorch-quantization", "onnx", "onnxruntime", "cuda-core", "cuda-python")


@dataclass(frozen=True)
class Host:
    """A host.

    Attributes:
        platform: Operating system and machine, as ``"Linux-x86_64"``.
        python: Its version.
        driver: NVIDIA's driver version; empty if there is none, or it is not known.
        cuda: Newest CUDA version that the driver runs, as ``"12.4"``; empty if it is not known.
        gpus: The GPUs that CUDA uses, its first one first; empty if there is none.
        gpu_problem: Why there is none.
        tensorrt: TensorRT's flavours.
        tensorrt_problems: Flavours that are installed but cannot be imported, with the reason.
        packages: Versions of the packages that matter, of those that are installed.
        surroundings: The board, container or subsystem that it is.
    """

    platform: str
    python: str
    driver: str
    cuda: str
    gpus: tuple[Gpu, ...]
    gpu_problem: str
    tensorrt: tuple[TensorRTFlavour, ...]
    tensorrt_problems: tuple[BrokenFlavour, ...]
    packages: dict[str, str]
    surroundings: Surroundings = field(default_factory=Surroundings)

    @property
    def kind(self) -> HostKind:
        """Which recipe is for it."""
        return find_kind(self.surroundings, self.gpus)


def describe_host() -> Host:
    """Looks at this host; never raises for what it lacks."""
    surroundings = read_surroundings()
    gpus, gpu_problem = describe_gpus(on_jetson=bool(surroundings.l4t))
    flavours, problems = find_flavours()
    driver = gpus[0].driver if gpus else UNKNOWN
    return Host(
        platform=platform_name(),
        python=python_version(),
        driver="" if driver == UNKNOWN else driver,
        cuda=gpus[0].cuda if gpus else "",
        gpus=gpus,
        gpu_problem=gpu_problem,
        tensorrt=flavours,
        tensorrt_problems=problems,
        packages=installed_versions(_PACKAGES),
        surroundings=surroundings,
    )
