"""Reads the ``TensorQuantizer`` of NVIDIA ModelOpt (``modelopt.torch.quantization``).

What each attribute means was read from version 0.47 (nn/modules/tensor_quantizer.py). Its order
of work: pre-quantization scale, rotation, nothing more if it is disabled, fake quantization. So
also a disabled quantizer may change its input. Attributes that only newer versions have are
absent from models that older ones made.
"""

from __future__ import annotations

from typing import Any

import torch

from trtqat.errors import QuantizerError
from trtqat.quant.state import QuantizerState, UncalibratedError, is_instance_by_name

_PACKAGE = "modelopt"

BUFFERS = ("_amax", "_pre_quant_scale")


def is_quantizer(module: torch.nn.Module) -> bool:
    """Whether this is ModelOpt's quantizer, a class derived from it, or a chain of them."""
    return is_instance_by_name(module, "TensorQuantizer", _PACKAGE) or _is_chain(module)


def read(name: str, module: torch.nn.Module) -> QuantizerState | None:
    """Reads one quantizer; None if it lets its input through unchanged.

    Args:
        name: Dotted name, for messages.
        module: A module for which ``is_quantizer`` holds.

    Raises:
        QuantizerError: It is not plain INT8 with a constant range, or its state is not that of
            an inference.
    """
    quantizer: Any = module
    if _is_chain(module):
        _check_chain(name, quantizer)
        return None
    if _is_rotating(quantizer):
        raise QuantizerError(
            f"Quantizer '{name}' rotates its input by a Hadamard transform, also while it is "
            "disabled; Q/DQ does not.",
            "Quantize with a configuration without 'rotate'.",
        )
    multiplier = _multiplier(quantizer)
    if quantizer._disabled or not (quantizer._if_quant or quantizer._if_calib):
        if multiplier is not None:
            raise QuantizerError(
                f"Quantizer '{name}' is disabled, but still multiplies its input by its "
                "pre_quant_scale.",
                "Enable it, or fold the scale into the layer before and delete _pre_quant_scale.",
            )
        return None
    if quantizer._if_calib:
        raise QuantizerError(
            f"Quantizer '{name}' is still in calibration mode.",
            "Let mtq.calibrate finish, or call load_calib_amax(), disable_calib() and "
            "enable_quant() on it.",
        )
    _check_format(name, quantizer)
    amax = getattr(quantizer, "_amax", None)
    if amax is None or quantizer._dynamic:
        raise UncalibratedError(
            f"Quantizer '{name}' has no amax: it was not calibrated, or is dynamic and takes a "
            "new range from every batch.",
            "Calibrate it: mtq.quantize(model, mtq.INT8_DEFAULT_CFG, forward_loop); or disable it "
            "with .disable() to leave its layer in floating point.",
        )
    return QuantizerState(
        amax.detach(),
        bits=quantizer._num_bits,
        unsigned=quantizer._unsigned,
        low=-127.0 if quantizer._narrow_range else -128.0,
        multiplier=multiplier,
    )


def _is_chain(module: torch.nn.Module) -> bool:
    return is_instance_by_name(module, "SequentialQuantizer", _PACKAGE)


def _check_chain(name: str, chain: Any) -> None:  # noqa: ANN401
    """A chain is let through only if nothing in it does anything."""
    active = [number for number, each in enumerate(chain) if read(f"{name}.{number}", each)]
    if active:
        raise QuantizerError(
            f"Quantizer '{name}' is a SequentialQuantizer, which quantizes a tensor several times; "
            "a tensor has one Q/DQ pair.",
            "Quantize with a single INT8 format: mtq.INT8_DEFAULT_CFG.",
        )


def _is_rotating(quantizer: Any) -> bool:  # noqa: ANN401
    rotate = getattr(quantizer, "_rotate", False)
    if isinstance(rotate, dict):
        return bool(rotate.get("enable", False))
    return bool(getattr(rotate, "enable", rotate))


def _multiplier(quantizer: Any) -> torch.Tensor | None:  # noqa: ANN401
    scale: torch.Tensor | None = getattr(quantizer, "_pre_quant_scale", None)
    if scale is None or not getattr(quantizer, "_enable_pre_quant_scale", True):
        return None
    return scale.detach()


def _check_format(name: str, quantizer: Any) -> None:  # noqa: ANN401
    """Refuses what is not integer fake quantization by amax alone."""
    bits = quantizer._num_bits
    if isinstance(bits, (tuple, list)):
        found = f"is floating point, E{bits[0]}M{bits[1]}"
    elif quantizer._block_sizes is not None:
        found = "has a scale for every block of elements"
    elif not quantizer._fake_quant or getattr(quantizer, "_dequantize", False):
        found = "holds real codes instead of fake-quantized values"
    elif getattr(quantizer, "_bias", None):
        found = "subtracts a bias before it quantizes"
    elif getattr(quantizer, "_use_constant_amax", False):
        found = "replaces its range by the largest FP8 number"
    elif getattr(quantizer, "backend", None) is not None:
        found = f"computes with the backend '{quantizer.backend}' of its own"
    else:
        return
    raise QuantizerError(
        f"Quantizer '{name}' {found}; this export is for INT8 by one amax per tensor or channel.",
        "Quantize with mtq.INT8_DEFAULT_CFG, or disable it with .disable().",
    )
