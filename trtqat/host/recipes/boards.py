"""Recipes for Jetsons, for WSL2, and for Windows itself."""

from __future__ import annotations

from dataclasses import replace

from trtqat.host.recipes.cards import RTX_CARD
from trtqat.host.recipes.recipe import Recipe, Step
from trtqat.host.recipes.steps import DOCTOR, EXPORT, PARSED, elsewhere

_JETPACK = "Torch-TensorRT documentation, JetPack 6.2"
_PACKAGED = "issues 2737 of NVIDIA/TensorRT (JetPack 5.1) and 1233 of pytorch/TensorRT"
_WSL = "NVIDIA, CUDA on WSL User Guide"
_WINDOWS = "NVIDIA TensorRT 11.4.1, Installing TensorRT with pip"

JETSON = Recipe(
    "jetson",
    "Jetson",
    (
        "None of this was run: nobody here has a board.",
        "Quantize and export on another host; build on the board itself, as a plan is for its GPU "
        "and its TensorRT. Copy model.onnx there.",
        "JetPack 6 has TensorRT 10.3, CUDA 12.6 and Python 3.10. It takes the FP32 graph of opset "
        "17; FP16 graphs need 10.12.",
        "TensorRT 11.4.1 is for JetPack 7.2.2 and newer, on AGX Orin and Thor, from the packages "
        "for Arm servers (SBSA), as its page Migrating on Jetson/JetPack says. For it export with "
        "--precision fp16.",
        "JetPack 5 and older have a Python that is older than trtqat takes (3.10).",
        "Its driver is part of its Linux. doctor asks CUDA's library, as nvidia-smi and NVML may "
        "be missing, or say little. Free memory is then unknown: processor and GPU share it.",
    ),
    (
        replace(EXPORT, does=f"On another host. {EXPORT.does}"),
        Step(
            "On the board: install TensorRT and CUDA, as packages of the system.",
            "sudo apt-get update\nsudo apt-get install nvidia-jetpack",
            "documentation",
            _JETPACK,
        ),
        Step(
            "Make an environment that sees the system's TensorRT.",
            "python3 -m venv --system-site-packages venv\n. venv/bin/activate",
            "checked",
            "on Debian 12, where it was run; that JetPack puts tensorrt among the system's "
            f"packages is from {_PACKAGED}",
        ),
        Step(
            "See that it does.",
            "python -c 'import tensorrt; print(tensorrt.__version__)'",
            "documentation",
            _PACKAGED,
        ),
        Step(
            "Install the checkout. cuda13 on JetPack 7.",
            "pip install -e '.[cuda12]'",
            "checked",
            "for Python 3.10 on aarch64: cuda-core 1.2.2, cuda-bindings 12.9.10 and onnx 1.23.2 "
            "were resolved on PyPI",
        ),
        replace(
            DOCTOR, mark="checked", how="with files of a Jetson that were made up, and no board"
        ),
        Step(
            "Fix the clocks before anything is measured.",
            "sudo nvpmodel -m 0\nsudo jetson_clocks",
            "documentation",
            "nvpmodel: NVIDIA Sionna Research Kit, Jetson Performance Tweaks; jetson_clocks: "
            "public repositories for boards. Which mode 0 is depends on the board",
        ),
        Step(
            "Build. A small optimum suits a small GPU.",
            "trtqat build model.onnx -o model.engine --batch 1:4:8 --timing-cache timing.cache "
            "--require-int8",
            "checked",
            PARSED,
        ),
        Step(
            "Measure it against what eval --json recorded of PyTorch on another host.",
            "trtqat eval model.engine --data npz:test.npz --baseline-report baseline.json",
            "checked",
            PARSED,
        ),
    ),
)

WSL2 = Recipe(
    "wsl2",
    "WSL2",
    (
        "Not run: no Windows was here.",
        "The driver is that of Windows, which WSL2 gets as /usr/lib/wsl/lib/libcuda.so.1. A Linux "
        "driver inside would take its place: install none.",
        "All else is as on Linux: after the first two steps the recipe is that of an RTX card.",
    ),
    (
        Step(
            "In Windows: install WSL2 and a Linux, after NVIDIA's driver for Windows.",
            "wsl --install -d Ubuntu-24.04",
            "documentation",
            _WSL,
        ),
        Step("Inside: see that the GPU is there.", "nvidia-smi", "documentation", _WSL),
        *map(elsewhere, RTX_CARD.steps),
    ),
)

WINDOWS = Recipe(
    "windows",
    "Windows",
    (
        "trtqat was never run on Windows; WSL2 is the way that is Linux in all that matters.",
        "NVIDIA has TensorRT 11.4.1 for Windows 10 and newer on x86-64, and 11.5 is the last for "
        "Windows 10. TensorRT for RTX has packages for Windows on PyPI.",
        "A plan of TensorRT moves to no other system. One of TensorRT for RTX does: built on "
        "Linux, it is for Windows, too.",
        "Several builds that share a timing cache at once are not kept apart here: Windows has no "
        "such lock.",
    ),
    (
        Step(
            "Make an environment.",
            "py -3.12 -m venv venv\nvenv\\Scripts\\activate",
            "documentation",
            "Python 3.12, venv",
        ),
        Step(
            "Install the checkout with TensorRT for RTX.",
            'pip install -e ".[export,rtx]"',
            "checked",
            "for Python 3.12 on win_amd64: tensorrt-rtx-cu12 1.7.1.116 was resolved on PyPI",
        ),
        Step(
            "Or with TensorRT, whose libraries come from NVIDIA's own index.",
            'pip install -e ".[export,tensorrt-cu13]"',
            "documentation",
            f"{_WINDOWS}. Of it, the bindings 11.4.0.106 were resolved on PyPI for win_amd64",
        ),
        replace(DOCTOR, mark="checked", how=PARSED),
        Step(
            "Build for RTX cards; with TensorRT leave out --for rtx.",
            "trtqat build model.onnx -o rtx.engine --for rtx --require-int8",
            "checked",
            f"{PARSED}, and it was run on Linux",
        ),
    ),
    shell="powershell",
)
