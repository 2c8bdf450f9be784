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


def check_host(host: Host) -> tuple[Check, ...]:
    """What a host has for each of trtqat's commands, and how to get the rest."""
    checks = []
    if host.gpus:
        for gpu in host.gpus:
            checks.append(
                Check("GPU", "passed", f"{gpu.name} ({gpu.compute_capability}){_free(gpu)}.")
            )
        up_to = f", CUDA up to {host.cuda}" if host.cuda else ""
        checks.append(Check("driver", "passed", f"{host.driver or UNKNOWN}{up_to}."))
    else:
        checks.append(
            Check(
                "GPU",
                "missing",
                f"build with TensorRT, and eval of an engine, need one: {host.gpu_problem}.",
                "export, lint, inspect, eval of a graph, and build --for rtx work without.",
            )
        )
    checks += _of_tensorrt(host)
    for package, purpose, extra in _NEEDED:
        version = host.packages.get(package)
        checks.append(
            Check(package, "passed", f"{version}.")
            if version
            else Check(package, "missing", f"{purpose} it.", install(extra))
        )
    return tuple(checks)


def _of_tensorrt(host: Host) -> Iterator[Check]:
    """Which libraries are here, and what each is good for."""
    for each in host.tensorrt:
        use = ": build --for rtx works here, without a GPU" if each.flavour == "rtx" else ""
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
