"""Reads trtqat's own ``FakeQuantize``, as exporting/program.py puts it into a program."""

from __future__ import annotations

import torch

from trtqat.quant.fake_quantize import PER_TENSOR, FakeQuantize
from trtqat.quant.state import QuantizerState

BUFFERS: tuple[str, ...] = ()


def is_quantizer(module: torch.nn.Module) -> bool:
    """Whether this is trtqat's own quantizer."""
    return isinstance(module, FakeQuantize)


def read(name: str, module: torch.nn.Module) -> QuantizerState | None:
    """Reads one quantizer, which is always active.

    Args:
        name: Dotted name.
        module: A module for which ``is_quantizer`` holds.
    """
    assert isinstance(module, FakeQuantize)
    return QuantizerState(
        scale=module.scale,
        axis=None if module.axis == PER_TENSOR else module.axis,
        low=module.low,
        high=module.high,
        multiplier=module.multiplier,
    )
