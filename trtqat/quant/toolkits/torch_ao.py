"""Reads PyTorch's own ``FakeQuantize`` modules, of ``torch.ao.quantization`` and torchao.

They stand in a model after ``prepare_qat``, ``prepare_qat_fx`` or ``prepare_qat_pt2e``. They store
a scale and a zero-point instead of an amax, and observe, so change, until they are told to stop.
The fused variant, ``FusedMovingAvgObsFakeQuantize``, derives from the plain one, but computes its
scale anew from the observed minimum and maximum in every call, also while it does not observe.
"""

from __future__ import annotations

from typing import Any

import torch

from trtqat.errors import QuantizerError
from trtqat.quant.state import (
    QuantizerState,
    UncalibratedError,
    codes_without_zero_point,
    is_instance_by_name,
)

_PACKAGES = ("torch.ao.quantization", "torchao.quantization")

# An observer's minima have as many elements as there are channels, once it has seen some.
BUFFERS = (
    "scale",
    "zero_point",
    "activation_post_process.min_val",
    "activation_post_process.max_val",
)


def is_quantizer(module: torch.nn.Module) -> bool:
    """Whether this is one of PyTorch's fake quantizers, or a class derived from them."""
    return is_instance_by_name(module, "FakeQuantizeBase", *_PACKAGES)


def read(name: str, module: torch.nn.Module) -> QuantizerState | None:
    """Reads one quantizer; None if it lets its input through unchanged.

    Args:
        name: Dotted name, for messages.
        module: A module for which ``is_quantizer`` holds.

    Raises:
        QuantizerError: It still observes, never did, or is no INT8 of constant scale.
    """
    quantizer: Any = module
    if not is_instance_by_name(module, "FakeQuantize", *_PACKAGES):
        raise QuantizerError(
            f"Quantizer '{name}' is a {type(module).__name__}, which computes its scale by rules "
            "of its own.",
            "Use torch.ao.quantization.FakeQuantize with the scale that was learned.",
        )
    if not quantizer.fake_quant_enabled.any():
        return None
    if quantizer.observer_enabled.any():
        raise QuantizerError(
            f"Quantizer '{name}' still observes, so its scale changes with every batch.",
            "Call model.apply(torch.ao.quantization.disable_observer) after training; torchao has "
            "its own disable_observer.",
        )
    if getattr(quantizer, "is_dynamic", False) or _never_observed(quantizer):
        raise UncalibratedError(
            f"Quantizer '{name}' has no range: its observer never saw data, or is dynamic.",
            "Train or run the prepared model first, or load a checkpoint that has its scales.",
        )
    observer = quantizer.activation_post_process
    axis = quantizer.ch_axis if quantizer.is_per_channel else None
    scale, zero_point = quantizer.scale.detach(), quantizer.zero_point
    if _is_fused(module):
        scale, zero_point = fused_parameters(
            observer.min_val,
            observer.max_val,
            observer.quant_min,
            observer.quant_max,
            axis=axis,
            symmetric=quantizer.is_symmetric_quant,
        )
    low, high = codes_without_zero_point(name, observer.quant_min, observer.quant_max, zero_point)
    return QuantizerState(scale=scale, axis=axis, low=low, high=high)


def fused_parameters(
    running_min: torch.Tensor,
    running_max: torch.Tensor,
    quant_min: int,
    quant_max: int,
    *,
    axis: int | None,
    symmetric: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scale and zero-point that ``fused_moving_avg_obs_fake_quant`` quantizes by.

    Args:
        running_min: Observed minima, shape ``()`` or ``(C,)``.
        running_max: Observed maxima, of the same shape.
        quant_min: Lowest code.
        quant_max: Highest code.
        axis: The channel axis, None per tensor.
        symmetric: Whether it balances minimum and maximum, as far as it does.

    Returns:
        Scale, float32, and zero-point, int32, each of shape ``(1,)`` or ``(C,)``.
    """
    count = running_min.numel()
    off, on = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
    scale, zero_point = torch.ones(count), torch.zeros(count, dtype=torch.int32)
    # The operator itself, on a tensor of zeros: it writes what it computed into its arguments.
    torch.fused_moving_avg_obs_fake_quant(
        torch.zeros(count, 1),
        off,
        on,
        running_min.detach().cpu().clone(),
        running_max.detach().cpu().clone(),
        scale,
        zero_point,
        0.0,
        quant_min,
        quant_max,
        -1 if axis is None else 0,
        axis is not None,
        symmetric,
    )
    return scale, zero_point


def _never_observed(quantizer: Any) -> bool:  # noqa: ANN401
    """Whether it has no scale but that of the constructor."""
    smallest = getattr(quantizer.activation_post_process, "min_val", None)
    if smallest is None:
        return False  # a fixed scale, for example that of a sigmoid
    unseen = smallest.numel() == 0 or bool(torch.isinf(smallest).all())
    # A scale that was set by hand, or loaded without its observer, is a scale nevertheless; not
    # for the fused variant, which computes it from the observer.
    return unseen and (_is_fused(quantizer) or bool((quantizer.scale == 1).all()))


def _is_fused(module: torch.nn.Module) -> bool:
    return is_instance_by_name(module, "FusedMovingAvgObsFakeQuantize", *_PACKAGES)
