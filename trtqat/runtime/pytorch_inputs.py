"""What a PyTorch model reads of a query: bytes of images as floats, in the type of the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from trtqat.pixels import Pixels, PixelSpec
from trtqat.tensors import TensorSpec

Converter = Callable[[torch.Tensor], torch.Tensor]


def converter(spec: TensorSpec, to_type: Converter, device: str) -> Converter:
    """What makes of a sample on the device what the model reads.

    Args:
        spec: Of the input, as engine or graph has it.
        to_type: Gives floats the type of the model.
        device: Where the model is.
    """
    if not isinstance(spec, PixelSpec):
        return to_type
    normalise = _normaliser(spec.pixels, device)
    return lambda sample: to_type(normalise(sample))


def _normaliser(pixels: Pixels, device: str) -> Converter:
    """Bytes to floats ``(N, C, H, W)``, as ``Pixels.normalise`` computes them, bit for bit."""

    def tensor(numbers: object) -> torch.Tensor:
        # A tensor on the device: by a Python number, CUDA multiplies with its reciprocal.
        found = torch.from_numpy(np.array(numbers, np.float32).reshape(1, -1, 1, 1))
        return found.to(device)

    scale, mean, std = tensor(pixels.scale), tensor(pixels.mean), tensor(pixels.std)

    def normalise(sample: torch.Tensor) -> torch.Tensor:
        image = sample.permute(0, 3, 1, 2) if pixels.layout == "nhwc" else sample
        if pixels.bgr:
            image = image.flip(1)
        floats = image.to(torch.float32, memory_format=torch.contiguous_format)
        return floats.div_(scale).sub_(mean).div_(std)

    return normalise
