"""TensorRT as this host has it: the module, and the GPU under it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from trtqat.errors import InferenceError, MissingError, first_line
from trtqat.extras import install, require
from trtqat.host.chosen_gpu import chosen_gpu
from trtqat.host.flavours import find_flavours
from trtqat.host.tensorrt_log import Messages


def load_tensorrt(purpose: str) -> ModuleType:
    """Imports TensorRT.

    Args:
        purpose: What needs it, as the subject of a sentence.

    Raises:
        MissingError: TensorRT is not installed, or its libraries do not load.
    """
    try:
        import tensorrt
    # A missing library surfaces as any of them, depending on the wheel.
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingError(
            f"{purpose} needs TensorRT, which cannot be imported here ({first_line(error)}).",
            f"In the checkout: {install('tensorrt-cu12')} or -cu13 (their wheels fetch the "
            f"libraries from NVIDIA's own index), {install('tensorrt8')} on Python 3.10 (complete "
            "on PyPI); or take NVIDIA's tar file or container.",
        ) from error
    module: ModuleType = tensorrt
    return module


def load_rtx(purpose: str) -> ModuleType:
    """Imports TensorRT for RTX.

    Args:
        purpose: What needs it, as the subject of a sentence.

    Raises:
        MissingError: It is not installed, or its libraries do not load.
    """
    found, problems = find_flavours("rtx")
    if not found:
        because = f" ({problems[0]})" if problems else ""
        raise MissingError(
            f"{purpose} needs TensorRT for RTX, which cannot be imported here{because}.",
            f"In the checkout: {install('rtx')}, or {install('rtx-cu13')} for CUDA 13.",
        )
    return found[0].load()


def advice_on_loading(messages: Messages) -> str:
    """The way out for a plan that ``deserialize_cuda_engine`` refused, by what TensorRT logged."""
    log = " ".join(messages.errors).lower()
    if "memory" in log:
        return "Free device memory: nvidia-smi lists who has it."
    if "hostcodeallowed" in log.replace("_", ""):
        return (
            "It carries a library: allow it with --allow-engine-code or, if it is signed, with "
            "--trust."
        )
    if "plugin" in log and ("creator" in log or "registry" in log):
        return "It needs a plugin that is not here: name its library with --plugins lib.so."
    if "version" in log:
        return "Build it here again from its ONNX file, or install the TensorRT that built it."
    return "Build it on a GPU of this kind, from its ONNX file."


def numpy_type(trt: ModuleType, dtype: Any) -> str | None:  # noqa: ANN401
    """NumPy's name of a ``tensorrt.DataType``; None if it has no such type, as of BF16."""
    try:
        return str(np.dtype(trt.nptype(dtype)))
    except TypeError:
        return None


def device_memory_bytes(engine: Any) -> int:  # noqa: ANN401
    """Scratch memory of one execution context, of an ``ICudaEngine`` of any version.

    ``device_memory_size_v2`` came with 10.1; in 11 it is the only one.
    """
    if hasattr(engine, "device_memory_size_v2"):
        return int(engine.device_memory_size_v2)
    return int(engine.device_memory_size)


def open_device(purpose: str) -> Any:  # noqa: ANN401
    """Makes the first CUDA device current, as a ``cuda.core.Device``; ``choose_gpu`` decides it.

    Args:
        purpose: What needs it, as the subject of a sentence.

    Raises:
        MissingError: cuda-python is not installed, or there is no GPU or driver.
        InferenceError: There is no device memory left for a CUDA context.
    """
    core = require("cuda.core", extra="cuda12", purpose=purpose)
    try:
        device = core.Device()
        device.set_current()
    # cuda.core raises its own CUDAError, or RuntimeError where there is no driver library.
    except Exception as error:
        if "OUT_OF_MEMORY" in str(error):
            raise InferenceError(
                f"{purpose} needs device memory, and other processes hold it: not even CUDA "
                "starts.",
                "Free some: nvidia-smi lists who has it.",
            ) from error
        chosen = chosen_gpu()
        place = "here" if chosen is None else f"under --device {chosen}"
        raise MissingError(
            f"{purpose} needs an NVIDIA GPU, and CUDA finds none {place} ({first_line(error)}).",
            "Run it on the build or target host; `nvidia-smi` must list the GPU there.",
        ) from error
    return device
