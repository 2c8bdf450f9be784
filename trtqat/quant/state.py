"""What a toolkit's reader hands over, and what a reader is.

A reader is a module with the functions of ``Reader``, as those in ``toolkits/``. It recognises its
toolkit by class, never by an import: a host without the toolkit can export a model that does not
use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from trtqat.errors import QuantizerError
from trtqat.quant.fake_quantize import CODE_MAX, CODE_MIN

# Seven bits, as PyTorch's reduce_range trains them, are trained for INT8; fewer are another format.
_FEWEST_LEVELS = 127


class UncalibratedError(QuantizerError):
    """A quantizer has no range yet."""


@dataclass(frozen=True)
class QuantizerState:
    """A quantizer's attributes before the checks that hold for every toolkit.

    Either ``amax`` or ``scale`` is given, whichever the toolkit stores: a scale that went through
    an amax and back would differ in its last bit.

    Attributes:
        amax: Broadcastable against the tensor it quantizes, any float dtype.
        scale: Any float dtype; one element, or of shape ``(C,)`` with ``axis``.
        axis: The channel axis of ``scale``; that of ``amax`` stands in its shape.
        bits: Number of bits.
        unsigned: Whether codes start at 0.
        low: Lowest code that it lets through.
        high: Highest code that it lets through.
        multiplier: Factor on the quantizer's input that stays in its output (SmoothQuant),
            broadcastable against it, or None.
    """

    amax: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    axis: int | None = None
    bits: int = 8
    unsigned: bool = False
    low: float = CODE_MIN
    high: float = CODE_MAX
    multiplier: torch.Tensor | None = None


class Reader(Protocol):
    """What toolkits/quantizers.py asks of a toolkit's module.

    Attributes:
        BUFFERS: Dotted names, below a quantizer, of buffers that exist or have their shape only
            after calibration; a checkpoint may bring them.
    """

    @property
    def BUFFERS(self) -> tuple[str, ...]: ...  # noqa: D102, N802 - a constant of a module

    def is_quantizer(self, module: torch.nn.Module) -> bool:
        """Whether a module is a quantizer of this toolkit."""

    def read(self, name: str, module: torch.nn.Module) -> QuantizerState | None:
        """Reads a quantizer; None if it lets its input through unchanged.

        Raises:
            QuantizerError: Its range is not constant, or its state is not that of an inference.
        """


def is_instance_by_name(module: torch.nn.Module, class_name: str, *packages: str) -> bool:
    """Whether a module's class, or one that it derives from, has this name in one of packages."""
    return any(
        cls.__name__ == class_name
        and any(f"{cls.__module__}.".startswith(f"{package}.") for package in packages)
        for cls in type(module).__mro__
    )


def codes_without_zero_point(
    name: str, quant_min: int, quant_max: int, zero_point: torch.Tensor | int
) -> tuple[float, float]:
    """The codes of an affine quantizer counted from its zero-point, if INT8 has them.

    ``clip(round(x / scale) + z, min, max) - z`` is ``clip(round(x / scale), min - z, max - z)``:
    so unsigned 8-bit codes around 128 are INT8, and so are any seven bits.

    Args:
        name: Dotted name of the quantizer, for the message.
        quant_min: Lowest code.
        quant_max: Highest code.
        zero_point: The code of 0, for each channel or for all.

    Returns:
        Lowest and highest code of the same quantizer with a zero-point of 0.

    Raises:
        QuantizerError: They do not fit into signed INT8, or channels have different ones.
    """
    zero_points = torch.as_tensor(zero_point).detach().flatten()
    zero = float(zero_points[0])
    if not zero.is_integer() or (zero_points != zero).any():
        raise QuantizerError(
            f"Quantizer '{name}' has zero-points that are not integers, or differ between its "
            "channels; TensorRT's INT8 is symmetric.",
            "Train it with a symmetric scheme: torch.per_channel_symmetric and torch.qint8.",
        )
    low, high = quant_min - zero, quant_max - zero
    if low < CODE_MIN or high > CODE_MAX:
        raise QuantizerError(
            f"Quantizer '{name}' has the codes [{quant_min}, {quant_max}] with a zero-point of "
            f"{zero:g}; TensorRT's INT8 is signed and symmetric.",
            "Train it with a symmetric scheme, dtype=torch.qint8 and the codes [-128, 127]; of "
            "PyTorch's own, FusedMovingAvgObsFakeQuantize is not symmetric behind a ReLU, but "
            "FakeQuantize is.",
        )
    if quant_max - quant_min + 1 < _FEWEST_LEVELS:
        raise QuantizerError(
            f"Quantizer '{name}' has only {quant_max - quant_min + 1} codes, "
            f"[{quant_min}, {quant_max}]; an engine would give it the 256 of INT8 for nothing.",
            "Train it with 8 bits: the codes [-128, 127].",
        )
    return low, high
