"""Recipes for NVIDIA's containers, and for a server of Triton's."""

from __future__ import annotations

from dataclasses import replace

from trtqat.host.recipes.recipe import Recipe, Step
from trtqat.host.recipes.steps import (
    BUILD,
    DOCTOR,
    EVALUATE,
    EXPORT_HALF,
    LINT_11,
    PARSED,
    QUANTIZE,
    elsewhere,
)

_CONTAINER = "NVIDIA TensorRT 11.4.1, Container Installation"
_MOUNT = '-v "$PWD:/work" -w /work'

NVIDIA_CONTAINER = Recipe(
    "nvidia-container",
    "NVIDIA's containers of PyTorch and of TensorRT",
    (
        "No container of NVIDIA's was started here.",
        "Both have TensorRT's Python module, so no tensorrt extra is installed: it would bring a "
        "second one.",
        "nvcr.io/nvidia/pytorch has NVIDIA's own PyTorch as well: take it for quantize, export and "
        "for eval beside PyTorch. nvcr.io/nvidia/tensorrt is smaller, and enough for build, "
        "inspect and eval against a recorded baseline.",
        "The extra export is left out: it asks for torch>=2.9, and pip does not take a pre-release "
        "such as 2.9.0a0 for that. What is installed here instead asks for no torch.",
        "From 25.03 on PyTorch's image holds its packages fast by /etc/pip/constraint.txt. Where "
        "pip says that a package conflicts with it, leave that package as it is in the image.",
        "26.05 was seen to have TensorRT 10.16, and 26.08 to have 11.2; doctor tells.",
    ),
    (
        Step(
            "Start PyTorch's container in the checkout.",
            f"docker run --rm -it --gpus all --ipc=host {_MOUNT} nvcr.io/nvidia/pytorch:26.08-py3",
            "documentation",
            f"{_CONTAINER}; that 26.08 is a tag was seen in public repositories",
        ),
        Step(
            "Or TensorRT's.",
            f"docker run --rm -it --gpus all {_MOUNT} nvcr.io/nvidia/tensorrt:26.08-py3",
            "documentation",
            f"{_CONTAINER}; that this tag has TensorRT 11.2.1.2 was seen in a public repository",
        ),
        Step(
            "Install the checkout, and keep the image's torch and TensorRT. cuda12 for images of "
            "CUDA 12.",
            "pip install -e '.[cuda13,onnxruntime]' onnxscript",
            "checked",
            "by pip install --dry-run in an empty Python 3.11: neither torch nor tensorrt is among "
            "the packages",
        ),
        Step(
            "See that torch is still NVIDIA's.",
            "python -c 'import torch, tensorrt; print(torch.__version__, tensorrt.__version__)'",
            "documentation",
            "release notes of NVIDIA's PyTorch image 25.03, on its constraints",
        ),
        *map(elsewhere, (DOCTOR, QUANTIZE, EXPORT_HALF, LINT_11, BUILD, EVALUATE)),
    ),
)

TRITON_CONTAINER = Recipe(
    "triton-container",
    "Triton",
    (
        "Build with the TensorRT of the server's image: nvcr.io/nvidia/tensorrt and tritonserver "
        "of one release have the same. A plan for RTX cards is nothing for Triton.",
        "The image has no checkout's Python to build in: build in TensorRT's container of the same "
        "release, and mount the repository.",
    ),
    (
        replace(
            elsewhere(BUILD), command=f"{BUILD.command} --triton-repository models", how=PARSED
        ),
        Step(
            "Serve it.",
            'docker run --rm --gpus all -p 8000:8000 -v "$PWD/models:/models" '
            "nvcr.io/nvidia/tritonserver:26.10-py3 tritonserver --model-repository=/models",
            "documentation",
            "NVIDIA Triton Inference Server, release notes 26.10; no server was run",
        ),
        Step(
            "Serve a plan that needs a plugin library: the server is told which.",
            "tritonserver --model-repository=/models "
            '--backend-config=tensorrt,plugins="/models/libplugins.so"',
            "documentation",
            "Triton's TensorRT backend, README, Command-line Options",
        ),
        Step(
            "Inside TensorRT's container of that release: see that the plan is for this TensorRT.",
            "trtqat doctor models/model/1/model.plan",
            "checked",
            PARSED,
        ),
    ),
)
