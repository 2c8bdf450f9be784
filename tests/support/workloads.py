"""The models that the GPU tests build engines from, and the words for them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support import commands
from trtqat.building.builder import BuildResult
from trtqat.exporting.source import ModelSource
from trtqat.tensors import TensorSpec

ROOT = Path(__file__).parents[2]
VGG = str(ROOT / "scripts/vgg16_cifar10/vgg16.py")
RESNET = str(ROOT / "scripts/models/resnet.py")
VGG_INPUT = TensorSpec("images", (1, 3, 32, 32))
RESNET_INPUT = TensorSpec("images", (1, 3, 224, 224))

Build = Callable[..., BuildResult]
# Graph, engine, and the source of the fake-quantized model.
Artefacts = tuple[Path, Path, ModelSource]


def trtqat(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own, at the repository's root."""
    return commands.trtqat(ROOT, *arguments)
