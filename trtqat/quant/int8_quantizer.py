"""``Int8Quantizer``: the quantizer that ``trtqat.quantize`` puts into a model, and its reader.

    y = scale · round(clip(x / scale, low, high)),  scale = amax / 127

In training a gradient passes where ``x`` is within the range and is zero beyond it (the
straight-through estimator, Bengio et al., https://arxiv.org/abs/1308.3432). Quantizers are found
and read by ``toolkits/`` like those of any toolkit, and become the same one operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trtqat.quant.fake_quantize import CODE_MAX, CODE_MIN
from trtqat.quant.state import QuantizerState, UncalibratedError

# As pytorch-quantization has it, and toolkits/quantizers.py: below this a range is taken for zero.
SMALLEST_AMAX = 2.0**-24
# A weight has no code -128: folding a BatchNorm with a negative γ negates its codes.
WEIGHT_CODE_MIN = -127.0

BUFFERS = ("amax",)
Observer = Callable[[torch.Tensor], object]


class Int8Quantizer(nn.Module):
    """Quantizes a tensor to INT8 and back, with one range, or one for each channel.

    Attributes:
        amax: Float32, largest magnitude that is represented: shape ``()``, or with one element
            for each channel and broadcastable against the tensor, as ``(C, 1, 1, 1)``. A buffer,
            or a parameter once it is learned. NaN before calibration.
        axis: The channel axis; None for one range.
        is_weight: Whether it stands on a weight, which has no code -128.
        observer: While it is set, the quantizer hands its input to it and lets it through.
    """

    amax: torch.Tensor

    def __init__(self, axis: int | None = None, *, is_weight: bool = False) -> None:
        super().__init__()
        self.axis = axis
        self.is_weight = is_weight
        self.observer: Observer | None = None
        self.register_buffer("amax", torch.tensor(float("nan")))

    @property
    def low(self) -> float:
        """Lowest code."""
        return WEIGHT_CODE_MIN if self.is_weight else CODE_MIN

    @property
    def scale(self) -> torch.Tensor:
        """Float32 step from a code to the next, in the shape of ``amax``."""
        return self.amax.clamp(min=SMALLEST_AMAX) / CODE_MAX

    def set_range(self, amax: torch.Tensor, dim: int) -> None:
        """Takes a range.

        Args:
            amax: Float32 ``()``, or ``(C,)`` with an axis.
            dim: Number of dimensions of the tensor that is quantized.
        """
        shape = [1] * dim
        if self.axis is not None and amax.dim():
            shape[self.axis] = -1
            amax = amax.reshape(shape)
        self.amax = amax.detach().to(self.amax.device, torch.float32, copy=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quantizes and dequantizes ``x``, a float tensor of any shape; keeps its dtype."""
        if self.observer is not None:
            self.observer(x)
            return x
        if torch.is_grad_enabled() and (x.requires_grad or self.amax.requires_grad):
            y: torch.Tensor = _RoundStraightThrough.apply(x, self.scale, self.low, CODE_MAX)  # type: ignore[no-untyped-call]
            return y
        return fake_quantized(x, self.scale, self.low, CODE_MAX)

    def extra_repr(self) -> str:
        """Range and axis, as ``print(model)`` shows them."""
        amax = self.amax.detach().flatten()
        shown = f"{float(amax.max()):.4g}" if amax.numel() else "none"
        axis = "" if self.axis is None else f", axis={self.axis}"
        return f"amax={'up to ' if amax.numel() > 1 else ''}{shown}{axis}"


def fake_quantized(x: torch.Tensor, scale: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Rounds ``x`` to the multiples of ``scale``, half to even, between two codes.

    Args:
        x: Float tensor of any shape.
        scale: Float32, broadcastable against it.
        low: Lowest code.
        high: Highest code.

    Returns:
        Tensor of the shape and dtype of ``x``.
    """
    codes = (x.float() / scale).round_().clamp_(low, high)
    return codes.mul_(scale).to(x.dtype)


class _RoundStraightThrough(torch.autograd.Function):
    """``fake_quantized`` whose rounding has the gradient 1."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: torch.Tensor,
        scale: torch.Tensor,
        low: float,
        high: float,
    ) -> torch.Tensor:
        codes = x.float() / scale
        inside = (codes >= low) & (codes <= high)
        # Not the input: a model may change it in place afterwards, as nn.ReLU(inplace=True) does.
        steps = None
        if ctx.needs_input_grad[1]:
            # LSQ (Esser et al., https://arxiv.org/abs/1902.08153), equation 3.
            steps = torch.where(inside, codes.round() - codes, codes.clamp(low, high))
        ctx.save_for_backward(inside, steps)
        ctx.shape = scale.shape
        return codes.round_().clamp_(low, high).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:  # noqa: ANN401
        inside, steps = ctx.saved_tensors
        of_scale = None
        if steps is not None:
            of_scale = (gradient.float() * steps).sum_to_size(ctx.shape)
        return gradient * inside, of_scale, None, None


def is_quantizer(module: nn.Module) -> bool:
    """Whether a module is trtqat's own trainable quantizer."""
    return isinstance(module, Int8Quantizer)


def read(name: str, module: nn.Module) -> QuantizerState | None:
    """Reads one quantizer.

    Args:
        name: Dotted name.
        module: A module for which ``is_quantizer`` holds.

    Raises:
        UncalibratedError: It has no range yet.
    """
    assert isinstance(module, Int8Quantizer)
    if torch.isnan(module.amax).any():
        raise UncalibratedError(
            f"Quantizer '{name}' has no range.", "Give trtqat.quantize data that reaches its layer."
        )
    return QuantizerState(amax=module.amax, low=module.low)
