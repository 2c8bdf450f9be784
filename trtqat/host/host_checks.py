"""What a host lacks for each of trtqat's commands, and how to get it: ``trtqat doctor``."""

from __future__ import annotations

from collections.abc import Iterator

from trtqat.extras import install
from trtqat.host.check import Check
from trtqat.host.description import Host
from trtqat.host.gpu import UNKNOWN, Gpu

# Package, what needs it, and the extra that brings it.
_NEEDED = (
    ("torch", "export of a model and the PyTorch baseline need", "export"),
    ("onnx", "export, lint, inspect and build need", "onnx"),
    ("onnxruntime", "export, and eval of a graph, need", "onnxruntime"),
    ("cuda-core", "eval of an engine needs", "cuda12"),
)
# A driver may be here all the same: it may list no GPU, or the environment hides them all.
DRIVER_NOT_ASKED = "It is not asked where there is no GPU."
_WITHOUT_GPU = "export, lint, inspect, eval of a graph, and build --for rtx work without."


def check_host(host: Host) -> tuple[Check, ...]:
    """What a host has for each of trtqat's commands, and how to get the rest."""
    checks = []
    where = host.surroundings.describe()
    if where:
        checks.append(Check("host", "passed", f"{where}."))
    if host.gpus:
        for gpu in host.gpus:
            checks.append(
                Check("GPU", "passed", f"{gpu.name} ({gpu.compute_capability}){_free(gpu)}.")
            )
        up_to = f", CUDA up to {host.cuda}" if host.cuda else ""
        checks.append(Check("driver", "passed", f"{_driver(host)}{up_to}."))
    else:
        checks.append(
            Check(
                "GPU",
                "missing",
                f"build with TensorRT, and eval of an engine, need one: {host.gpu_problem}.",
                " ".join(filter(None, (how_to_reach_gpu(host), _WITHOUT_GPU))),
            )
        )
    checks += _of_jetson(host) if host.kind == "jetson" else _of_tensorrt(host)
    for package, purpose, extra in _NEEDED:
        version = host.packages.get(package)
        checks.append(
            Check(package, "passed", f"{version}.")
            if version
            else Check(package, "missing", f"{purpose} it.", install(extra))
        )
    return tuple(checks)


def how_to_reach_gpu(host: Host) -> str:
    """The way to a GPU that a host has and a process does not see; empty where none is known."""
    if host.kind == "jetson":
        return (
            "Start a container with --runtime nvidia; outside of one, sudo apt-get install "
            "nvidia-jetpack brings what is missing."
        )
    if host.kind == "wsl2":
        return "Install NVIDIA's driver in Windows, and none inside WSL2."
    if host.surroundings.container or host.surroundings.image:
        return "If the host outside has a GPU, start the container with --gpus all."
    return ""


def _driver(host: Host) -> str:
    if host.kind == "jetson" and not host.driver:
        return f"part of L4T {host.surroundings.l4t}"
    return host.driver or UNKNOWN


def _of_jetson(host: Host) -> Iterator[Check]:
    """JetPack brings TensorRT, as a package of the system; PyPI's are for other hosts."""
    for each in host.tensorrt:
        yield Check("TensorRT", "passed", f"{each.version} ({each.flavour}), {each.path}.")
    for problem in host.tensorrt_problems:
        yield Check("TensorRT", "warning", f"One does not import: {problem}.")
    if "full" not in {each.flavour for each in host.tensorrt}:
        yield Check(
            "TensorRT",
            "missing",
            "build, and eval of an engine, need it; JetPack brings it.",
            "sudo apt-get install nvidia-jetpack, and a venv with --system-site-packages",
        )


def _of_tensorrt(host: Host) -> Iterator[Check]:
    """Which libraries are here, and what each is good for."""
    for each in host.tensorrt:
        use = ": for build --for rtx, which needs no GPU" if each.flavour == "rtx" else ""
        yield Check("TensorRT", "passed", f"{each.version} ({each.flavour}), {each.path}{use}.")
    for problem in host.tensorrt_problems:
        yield Check("TensorRT", "warning", f"One does not import: {problem}.")
    here = {each.flavour for each in host.tensorrt}
    if "full" not in here:
        yield Check(
            "TensorRT",
            "missing",
            "build, but for RTX, and eval of a plain engine need the full TensorRT.",
            f"{install('tensorrt-cu12')}; or tensorrt-cu13, or tensorrt8 on Python 3.10",
        )
    if not here - {"rtx"}:
        yield Check(
            "TensorRT",
            "missing",
            "eval of a version-compatible engine needs a lean runtime at least.",
            install("lean"),
        )
    if "rtx" not in here:
        yield Check(
            "TensorRT",
            "missing",
            "build --for rtx, which needs no GPU, and eval of its engines need TensorRT for RTX.",
            f"{install('rtx')}; or rtx-cu13",
        )


def _free(gpu: Gpu) -> str:
    if gpu.memory_bytes is None or gpu.free_bytes is None:
        return ""
    return f", {gpu.free_bytes / 2**30:.0f} of {gpu.memory_bytes / 2**30:.0f} GiB free"
