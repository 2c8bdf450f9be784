"""Recipes by the GPU alone: RTX cards, GPU servers, and hosts without one."""

from __future__ import annotations

from trtqat.host.recipes.recipe import BY_TEST, Recipe, Step
from trtqat.host.recipes.steps import (
    BUILD,
    DOCTOR,
    EVALUATE,
    EXPORT,
    EXPORT_HALF,
    LINT_11,
    QUANTIZE,
    SHIP,
    elsewhere,
)

_PIP = "NVIDIA TensorRT 11.4.1, Installing TensorRT with pip"
_BUILD_RTX = "trtqat build model.onnx -o rtx.engine --for rtx --require-int8"

RTX_CARD = Recipe(
    "rtx-card",
    "RTX card with TensorRT 11 from pip",
    (
        "TensorRT 11 builds strongly typed networks alone: nothing is made FP16 behind the graph's "
        "back, and --no-fp16 is refused.",
        "No RTX card and no TensorRT 11 was here.",
        "Its packages for CUDA 13 need driver 580 or newer; tensorrt-cu12 is for older ones.",
        "TensorRT 10 from 10.12 on takes the same FP16 graph, and the FP32 graph as well.",
    ),
    (
        Step(
            "Install the checkout with TensorRT for CUDA 13. Its libraries come from NVIDIA's own "
            "index, so a host that reaches PyPI alone cannot install them.",
            "pip install -e '.[export,tensorrt-cu13]'",
            "documentation",
            f"{_PIP}. Of it, the bindings 11.4.0.106, cuda-core 1.2.2 and cuda-python 13.4.4 were "
            "resolved on PyPI",
        ),
        DOCTOR,
        QUANTIZE,
        EXPORT_HALF,
        LINT_11,
        elsewhere(BUILD),
        elsewhere(EVALUATE),
        Step(
            "Or without NVIDIA's index: TensorRT for RTX is whole on PyPI, and needs no GPU to "
            "build.",
            "pip install -e '.[rtx]'",
            "checked",
            "by pip install --dry-run for Linux and Python 3.11; the tests build with "
            "tensorrt-rtx-cu12 1.7.1.116",
        ),
        Step(
            "One plan for RTX 3080, 4090 and 5090. Such plans were built and inspected, not run.",
            "trtqat build model.onnx -o rtx.engine --for rtx --targets sm86,sm89,sm120 "
            "--require-int8",
            "run",
            BY_TEST,
        ),
    ),
)

GPU_SERVER = Recipe(
    "gpu-server",
    "GPU server (H100, A100, L4 and others)",
    (
        "Build on the very kind of GPU that will run the plan, or add --hardware-compatibility "
        "ampere+, which costs speed.",
        "TensorRT 8.6.0 is the one that PyPI has whole, for Python 3.10; it is what was measured.",
        "On a host without cuBLAS 12 and cuDNN 8 add --tactic-sources=-cublas,-cublas-lt,-cudnn "
        "for TensorRT 8.6.0.",
        "TensorRT for RTX does not run on a GPU of compute capability 9.0 or 10.0.",
    ),
    (
        Step(
            "Install the checkout with TensorRT 8.6.0, in Python 3.10.",
            "pip install -e '.[export,tensorrt8]'",
            "checked",
            "tensorrt 8.6.0 is a whole wheel for Python 3.10 on PyPI; on an H200 and H100s it ran "
            "unpacked by hand, without a network",
        ),
        Step(
            "Or a newer TensorRT, from NVIDIA's index; for TensorRT 11 export as on an RTX card.",
            "pip install -e '.[export,tensorrt-cu12]'",
            "documentation",
            _PIP,
        ),
        DOCTOR,
        QUANTIZE,
        EXPORT,
        BUILD,
        EVALUATE,
        SHIP,
    ),
)

NO_GPU = Recipe(
    "no-gpu",
    "Host without a GPU",
    (
        "It quantizes, exports, verifies and checks graphs, and builds plans for RTX cards.",
        "What it builds for RTX cards was inspected here, and never run.",
    ),
    (
        Step(
            "Install the checkout. PyTorch's build for the CPU comes from PyTorch's own index.",
            "pip install -e '.[export,rtx]'",
            "run",
            "by scripts/demo on Debian 12 with Python 3.11, with the extra demo besides",
        ),
        DOCTOR,
        QUANTIZE,
        EXPORT,
        Step(
            "See what in the graph costs speed or accuracy; name the TensorRT that will build it.",
            "trtqat lint model.onnx --for 10",
            "run",
            BY_TEST,
        ),
        Step(
            "Measure the graph's accuracy, by ONNX Runtime.",
            "trtqat eval model.onnx --data npz:test.npz --baseline model.py:fp32 "
            "--checkpoint fp32.pt --duration 0",
            "run",
            BY_TEST,
        ),
        Step("Build a plan for RTX cards from Ampere on.", _BUILD_RTX, "run", BY_TEST),
        Step(
            "See which of its layers are INT8.",
            "trtqat inspect rtx.engine --require-int8",
            "run",
            BY_TEST,
        ),
    ),
)
