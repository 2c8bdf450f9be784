"""Reads NVIDIA pytorch-quantization's ``TensorQuantizer``.

The toolkit is recognised by class, never imported: a host without it can export a model
that carries its own copy, and nothing here depends on its logging. What each attribute
means was read from version 2.1.3 (nn/modules/tensor_quantizer.py).
"""

from __future__ import annotations

from typing import Any

import torch

from trtqat.errors import QuantizerError
from trtqat.quant.state import QuantizerState, UncalibratedError, is_instance_by_name

BUFFERS = ("_amax",)


def is_quantizer(module: torch.nn.Module) -> bool:
    """Whether this is the toolkit's quantizer, or a class derived from it."""
    return is_instance_by_name(module, "TensorQuantizer", "pytorch_quantization")


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
        if quantizer._if_clip:
            raise QuantizerError(
                f"Quantizer '{name}' clips to its learned range, but does not quantize.",
                "Call enable_quant() on it, or disable() to leave its layer in floating point.",
            )
        return None
    if not quantizer._fake_quant:
        raise QuantizerError(
            f"Quantizer '{name}' returns codes instead of fake-quantized values.",
            "Set fake_quant=True in its descriptor.",
        )
    # PyTorch's operator, which this switch puts in, knows no narrow range.
    is_narrow = quantizer._narrow_range and not type(quantizer).use_fb_fake_quant
    low, high = (-127.0, 127.0) if is_narrow else (-128.0, 127.0)
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
        raise UncalibratedError(
            f"Quantizer '{name}' has no amax: it was not calibrated, or is dynamic and takes a "
            "new range from every batch.",
            "Calibrate it, or disable it with .disable() to leave its layer in floating point.",
        )
    elif not isinstance(quantizer._amax, torch.Tensor):
        raise QuantizerError(
            f"Quantizer '{name}' has a {type(quantizer._amax).__name__} for its amax, with which "
            "its toolkit cannot quantize.",
            "Make a buffer of it: del quantizer._amax, and then quantizer.amax = 2.5.",
        )
    else:
        amax = quantizer._amax.detach()
        if quantizer._scale_amax is not None:
            amax = amax * quantizer._scale_amax
    return QuantizerState(
        amax, bits=quantizer._num_bits, unsigned=quantizer._unsigned, low=low, high=high
    )
