"""A plan of TensorRT for RTX against a host: platform, GPU, driver, CUDA, memory.

What is said here of versions and platforms stands in NVIDIA's documentation:

- platform: a plan is for Linux and Windows, wherever it was built
  (https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html), and
  the library is for x86-64 there (…/tensorrt-rtx/1.4/installing-tensorrt-rtx/prerequisites.html)
- targets: a plan with named ones runs on those alone (cpu-engines.html)
- CUDA: a plan may be too new for the CUDA of the library or of the driver
  (…/latest/inference-library/engine-compatibility.html); the packages for CUDA 12 are made for
  12.9 (prerequisites.html)
- driver: CUDA 12 needs release 525 or newer, CUDA 13 needs 580
  (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trtqat.host.check import Check
from trtqat.host.description import Host
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.host_checks import DRIVER_NOT_ASKED
from trtqat.host.version_rules import version_tuple
from trtqat.plan.header import PlanHeader
from trtqat.plan.manifest import Manifest
from trtqat.plan.targets import DEFAULT_TARGETS, TARGETS, TURING, covers, targets_in_words

_PLATFORMS = ("Linux-x86_64", "Windows-AMD64")

# By CUDA major: the oldest driver of all, and the CUDA that the packages are made for.
_OLDEST_DRIVER = {"12": 525, "13": 580}
_MADE_FOR = {"12": (12, 9, 0), "13": (13, 0, 0)}


def check_rtx(
    header: PlanHeader,
    manifest: Manifest | None,
    host: Host,
    chosen: TensorRTFlavour | None,
    plan_bytes: int,
) -> Iterator[Check]:
    """Checks a host, of which nothing but its description is needed.

    Args:
        header: Of the plan.
        manifest: Of the plan; None if there is none.
        host: The host.
        chosen: The library that is to run it; None if none does.
        plan_bytes: Size of the plan.
    """
    yield _platform(host)
    yield _gpu(header.targets or (manifest.targets if manifest else ()), host)
    cuda = (chosen.cuda if chosen else "") or (manifest.cuda if manifest else "")
    yield _driver(cuda, host)
    if manifest is not None and chosen is not None:
        yield from _cuda(manifest.cuda, chosen.cuda)
    yield _memory(plan_bytes, host)
    yield Check(
        "run",
        "unknown",
        "trtqat was never tried on an RTX card: plans for it were built and inspected, not run.",
        "Measure it on the card with trtqat eval before you rely on it.",
    )


def _platform(host: Host) -> Check:
    if host.platform in _PLATFORMS:
        return Check("platform", "passed", f"{host.platform}; it moves between Linux and Windows.")
    return Check(
        "platform",
        "unknown",
        f"This is {host.platform}; NVIDIA names {' and '.join(_PLATFORMS)} for such a plan.",
    )


def _gpu(targets: tuple[str, ...], host: Host) -> Check:
    if not host.gpus:
        return Check(
            "GPU",
            "missing",
            f"There is no GPU here: {host.gpu_problem}.",
            "Run it on a host with an RTX GPU; nvidia-smi must list it.",
        )
    gpu = host.gpus[0]
    capability = gpu.compute_capability
    here = f"{gpu.name} ({capability})"
    if not targets:
        return Check("GPU", "unknown", f"{gpu.name}; for which GPUs the plan is, it does not tell.")
    told = f"Its targets are {targets_in_words(targets)}"
    if not re.fullmatch(r"\d+\.\d+", capability):
        return Check("GPU", "unknown", f"{told}; {gpu.name} does not tell its compute capability.")
    if covers(targets, capability):
        return Check("GPU", "passed", f"{told}; this GPU is {here}.")
    return Check("GPU", "failed", f"{told}; this GPU is {here}.", _plan_for(capability))


def _plan_for(capability: str) -> str:
    """The way to a plan that runs on a GPU of this compute capability."""
    name = "sm" + capability.replace(".", "")
    rtx = "Build it again from its ONNX file with: trtqat build --for rtx"
    tensorrt = (
        "Build a plan of TensorRT on it, from its ONNX file, with: trtqat build --for 10 (or 8.6, "
        "or 11)."
    )
    if capability == TURING:
        return f"{tensorrt} A plan with --for rtx --targets {name} runs no convolution in INT8."
    everything = targets_in_words(DEFAULT_TARGETS)
    if capability in TARGETS:
        return f"{rtx} --targets {name}; or without --targets, which is for {everything}."
    if covers(DEFAULT_TARGETS, capability):
        return f"{rtx} without --targets, which is for {everything}."
    return f"TensorRT for RTX does not build for this GPU. {tensorrt}"


def _driver(cuda: str, host: Host) -> Check:
    if not host.gpus:
        return Check("driver", "unknown", DRIVER_NOT_ASKED)
    oldest = _OLDEST_DRIVER.get(cuda)
    if oldest is None:
        return Check(
            "driver",
            "unknown",
            "Neither the installed library nor a manifest tells which CUDA it needs.",
        )
    here = version_tuple(host.driver)[0] if host.driver else None
    runs = version_tuple(host.cuda) if host.cuda else None
    if here is None and runs is None:
        return Check("driver", "unknown", "NVIDIA's driver does not tell its version.")
    words = host.driver or "Version unknown"
    words += f", CUDA up to {host.cuda}" if host.cuda else ""
    if (here or oldest) < oldest or (runs is not None and runs[0] < int(cuda)):
        return Check(
            "driver",
            "missing",
            f"{words}; the library for CUDA {cuda} needs driver {oldest} or newer.",
            "Upgrade the driver."
            if cuda == "12"
            else "Upgrade the driver, or install the library for CUDA 12.",
        )
    made_for = _MADE_FOR[cuda]
    if runs is not None and runs < made_for:
        return Check(
            "driver",
            "warning",
            f"{words}; the library is made for CUDA {made_for[0]}.{made_for[1]}.",
            "Upgrade the driver if loading fails: the GPU's kernels are compiled there.",
        )
    return Check("driver", "passed", f"{words}; the library is for CUDA {cuda}.")


def _cuda(built: str, installed: str) -> Iterator[Check]:
    """The CUDA of the library that runs a plan against that of the one that built it."""
    if not built or not installed:
        return
    words = f"It was built by a library for CUDA {built}; the one here is for CUDA {installed}."
    if version_tuple(installed) < version_tuple(built):
        remedy = f"If it does not load, install the library for CUDA {built}, or build it here."
        yield Check("CUDA", "warning", words, remedy)
    else:
        yield Check("CUDA", "passed", words)


def _memory(plan_bytes: int, host: Host) -> Check:
    free = host.gpus[0].free_bytes if host.gpus else None
    if free is None:
        what = "This GPU does not tell its free memory." if host.gpus else "There is no GPU to ask."
        return Check("memory", "unknown", what)
    finding = (
        f"{free / 2**20:,.0f} MiB free; its weights need about {plan_bytes / 2**20:,.0f} MiB. What "
        "an execution context needs is known on the GPU alone."
    )
    if free < plan_bytes:
        return Check(
            "memory", "failed", finding, "Free device memory: nvidia-smi lists who has it."
        )
    return Check("memory", "passed", finding)
