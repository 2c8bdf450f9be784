"""The one operator that a trained quantizer becomes while a model is traced.

``trtqat::fake_quantize`` computes

    y = scale · round(clip(x / scale, low, high))

with round-half-to-even and the codes of signed INT8, exactly what a pair of ONNX
QuantizeLinear and DequantizeLinear computes (https://onnx.ai/onnx/operators/). Both
exporters write it as one node of the same name and attributes in the domain ``trtqat``
(exporting/tracing.py); graph/passes/expand_fake_quantize.py turns that node into the Q/DQ pair.
"""

from __future__ import annotations

import torch

PER_TENSOR = -1
CODE_MIN = -128.0
CODE_MAX = 127.0


@torch.library.custom_op("trtqat::fake_quantize", mutates_args=())
def fake_quantize(
    x: torch.Tensor, scale: torch.Tensor, axis: int, low: float, high: float, quantizer: str
) -> torch.Tensor:
    """Quantizes to INT8 and back.

    Args:
        x: Float32 tensor of any shape.
        scale: Float32, shape ``()`` for per-tensor or ``(x.shape[axis],)`` for per-channel.
        axis: The channel axis, or ``PER_TENSOR``.
        low: Lowest code, at least -128; need not be an integer (a learned bound).
        high: Highest code, at most 127.
        quantizer: Dotted name of the quantizer; only carried into the graph.

    Returns:
        Tensor of the shape and dtype of ``x``.
    """
    shape = [1] * x.dim()
    if axis != PER_TENSOR:
        shape[axis] = -1
    step = scale.reshape(shape) if axis != PER_TENSOR else scale
    # Not torch.fake_quantize_per_…_affine: that multiplies by 1 / scale, and where the product
    # rounds otherwise than the quotient, a code at a border is the neighbouring one.
    if low > CODE_MIN or high < CODE_MAX:
        codes = torch.clamp(x, low * step, high * step).div_(step)
    else:
        codes = x / step
    return codes.round_().clamp_(CODE_MIN, CODE_MAX).mul_(step)


@fake_quantize.register_fake
def _(
    x: torch.Tensor, scale: torch.Tensor, axis: int, low: float, high: float, quantizer: str
) -> torch.Tensor:
    return torch.empty_like(x)


class FakeQuantize(torch.nn.Module):
    """A quantizer with constant scale: what stands in for a toolkit's own while tracing.

    Attributes:
        held: What it quantizes instead of what it is given; None for that.
        num_bits: 8. ModelOpt's Conv3d asks its quantizers for it, to find those of FP4.
    """

    scale: torch.Tensor
    multiplier: torch.Tensor | None
    held: torch.nn.Parameter | None
    num_bits = 8

    def __init__(
        self,
        name: str,
        scale: torch.Tensor,
        axis: int | None,
        low: float,
        high: float,
        multiplier: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("multiplier", multiplier, persistent=False)
        self.register_parameter("held", None)
        self.name = name
        self.axis = PER_TENSOR if axis is None else axis
        self.low = low
        self.high = high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies, where there is a multiplier, and applies ``trtqat::fake_quantize``."""
        if self.held is not None:
            x = self.held
        if self.multiplier is not None:
            x = x * self.multiplier
        y: torch.Tensor = torch.ops.trtqat.fake_quantize(
            x, self.scale, self.axis, self.low, self.high, self.name
        )
        return y
