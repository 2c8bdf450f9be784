"""Reads NVIDIA pytorch-quantization's ``TensorQuantizer``.

The toolkit is recognised by class, never imported: a host without it can export a model
that carries its own copy, and nothing here depends on its logging. What each attribute
means was read from version 2.1.3 (nn/modules/tensor_quantizer.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from trtqat.errors import QuantizerError


@dataclass(frozen=True)
class QuantizerState:
    """A quantizer's attributes before the checks that hold for every toolkit.

    Attributes:
        amax: Broadcastable against the tensor it quantizes, any float dtype.
        bits: Number of bits.
        unsigned: Whether codes start at 0.
        low: Lowest code that it lets through.
        high: Highest code that it lets through.
    """

    amax: torch.Tensor
    bits: int = 8
    unsigned: bool = False
    low: float = -128.0
    high: float = 127.0


def is_quantizer(module: torch.nn.Module) -> bool:
    """Whether this is the toolkit's quantizer, or a class derived from it."""
    return any(
        cls.__name__ == "TensorQuantizer" and cls.__module__.startswith("pytorch_quantization")
        for cls in type(module).__mro__
    )


def read(name: str, module: torch.nn.Module) -> QuantizerState | None:
    """Reads one quantizer; None if it lets its input through unchanged.

    Args:
        name: Dotted name, for messages.
        module: A module for which ``is_quantizer`` holds.

    Raises:
        QuantizerError: Its range is not constant, or its state is not that of an inference.
    """
    quantizer: Any = module
    if quantizer._disabled:
        return None
    if quantizer._if_calib:
        raise QuantizerError(
            f"Quantizer '{name}' is still in calibration mode.",
            "Call load_calib_amax(), disable_calib() and enable_quant() on it first.",
        )
    if not quantizer._if_quant:
        return None
    if not quantizer._fake_quant:
        raise QuantizerError(
            f"Quantizer '{name}' returns codes instead of fake-quantized values.",
            "Set fake_quant=True in its descriptor.",
        )
    low, high = (-127.0, 127.0) if quantizer._narrow_range else (-128.0, 127.0)
    if quantizer._learn_amax:
        lower = quantizer.clip.clip_value_min.detach()
        upper = quantizer.clip.clip_value_max.detach()
        amax = torch.max(-lower, upper)
        # The learned bounds clip before the rounding, so even a symmetric pair of them
        # keeps the code -128 from occurring.
        if torch.isfinite(amax) and amax > 0:
            low = max(low, 127.0 * float(lower / amax))
            high = min(high, 127.0 * float(upper / amax))
    elif getattr(quantizer, "_amax", None) is None:
        raise QuantizerError(
            f"Quantizer '{name}' has no amax: it was not calibrated, or is dynamic and takes a "
            "new range from every batch.",
            "Calibrate it, or disable it with .disable() to leave its layer in floating point.",
        )
    else:
        amax = quantizer._amax.detach()
        if quantizer._scale_amax is not None:
            amax = amax * quantizer._scale_amax
    return QuantizerState(amax, quantizer._num_bits, quantizer._unsigned, low, high)


def register_missing_amax(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Gives quantizers the ``_amax`` buffers that a checkpoint is about to fill.

    The toolkit's own loading moves a missing buffer with ``.cuda()`` and so fails on a host
    without a GPU; a buffer of another shape (a per-tensor default) would be refused.

    Args:
        model: The model that ``load_state_dict`` will be called on.
        state: The checkpoint's state dict.
    """
    for name, module in model.named_modules():
        if not is_quantizer(module):
            continue
        saved = state.get(f"{name}._amax")
        current = getattr(module, "_amax", None)
        if saved is not None and (current is None or current.shape != saved.shape):
            module.register_buffer("_amax", torch.zeros_like(saved, device="cpu"))
