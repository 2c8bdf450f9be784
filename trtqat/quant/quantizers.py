"""What a trained quantizer says, whoever made it.

A toolkit is one reader: a module with ``is_quantizer(module)`` and
``read(name, module)``. ``READERS`` lists them; nothing else knows toolkits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from trtqat.errors import QuantizerError
from trtqat.quant import pytorch_quantization as toolkit
from trtqat.quant.operator import CODE_MAX, CODE_MIN, FakeQuantize

READERS = (toolkit,)

# Scales come from amax / 127. pytorch-quantization maps amax <= 2**-24 to the value zero;
# an ONNX scale must be positive. With this floor such a tensor stays below 6e-8.
AMAX_FLOOR = 2.0**-24


@dataclass(frozen=True)
class Quantizer:
    """A trained, signed 8-bit quantizer with a constant range.

    Attributes:
        name: Dotted module name, for example ``"features.0._input_quantizer"``.
        amax: Float32, shape ``()`` for per-tensor or ``(C,)`` for per-channel; all > 0.
        axis: The channel axis of a per-channel quantizer, else None.
        low: Lowest code, -128 unless the quantizer clips earlier (narrow range, learned range).
        high: Highest code.
        notes: What had to be changed or will surprise, one sentence each.
    """

    name: str
    amax: torch.Tensor
    axis: int | None = None
    low: float = CODE_MIN
    high: float = CODE_MAX
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> torch.Tensor:
        """``amax / 127``, float32, of the shape of ``amax``."""
        return self.amax / CODE_MAX


def read_quantizers(model: torch.nn.Module) -> dict[str, Quantizer | None]:
    """Reads every quantizer of a model.

    Args:
        model: Any module; quantizers of known toolkits are found by class.

    Returns:
        Quantizers by dotted name in module order; None for a disabled one.

    Raises:
        QuantizerError: One of them has no exact Q/DQ equivalent.
    """
    found: dict[str, Quantizer | None] = {}
    for name, module in model.named_modules():
        for reader in READERS:
            if reader.is_quantizer(module):
                state = reader.read(name, module)
                found[name] = None if state is None else _checked(name, state)
    return found


@contextlib.contextmanager
def replaced_quantizers(
    model: torch.nn.Module, quantizers: dict[str, Quantizer | None]
) -> Iterator[dict[str, FakeQuantize]]:
    """Puts a ``FakeQuantize`` in the place of every quantizer, and the original back at exit.

    Args:
        model: The model that ``quantizers`` was read from; changed in place meanwhile.
        quantizers: As ``read_quantizers`` returns it; disabled ones become an identity.

    Yields:
        The stand-ins of the active quantizers by dotted name.
    """
    originals = {name: model.get_submodule(name) for name in quantizers}
    stand_ins: dict[str, FakeQuantize] = {}
    try:
        for name, quantizer in quantizers.items():
            stand_in: torch.nn.Module
            if quantizer is None:
                stand_in = torch.nn.Identity()
            else:
                stand_in = stand_ins[name] = FakeQuantize(
                    name, quantizer.scale, quantizer.axis, quantizer.low, quantizer.high
                )
            _set_submodule(model, name, stand_in.eval())
        yield stand_ins
    finally:
        for name, original in originals.items():
            _set_submodule(model, name, original)


def _set_submodule(model: torch.nn.Module, name: str, module: torch.nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _checked(name: str, state: toolkit.QuantizerState) -> Quantizer:
    """The rules that hold for every toolkit: signed, 8 bit, one axis, a sound amax."""
    if state.bits != 8 or state.unsigned:
        kind = f"{'unsigned' if state.unsigned else 'signed'} {state.bits}-bit"
        raise QuantizerError(
            f"Quantizer '{name}' is {kind}; TensorRT's INT8 is signed and symmetric.",
            "Train it with num_bits=8 and unsigned=False.",
        )
    if state.amax.dtype in (torch.float16, torch.bfloat16):
        raise QuantizerError(
            f"Quantizer '{name}' holds its amax in {state.amax.dtype}, which rounds the scale.",
            "Convert the model with .float() before calibrating, and again before the export.",
        )
    amax, axis = _squeeze(name, state.amax.detach().to("cpu", torch.float32))
    if torch.isnan(amax).any():
        raise QuantizerError(
            f"Quantizer '{name}' has a NaN amax: it was never calibrated, or training diverged.",
            "Calibrate it on representative data, or disable it.",
        )
    if torch.isinf(amax).any() or (amax < 0).any():
        raise QuantizerError(
            f"Quantizer '{name}' has an amax of {_worst(amax)}; it must be finite and positive.",
            "Calibrate it again on data without infinities.",
        )
    quantizer = Quantizer(name, amax, axis, state.low, state.high)
    floored = amax < AMAX_FLOOR
    if floored.any():
        where = f"{int(floored.sum())} of {amax.numel()} channels" if axis is not None else "all"
        note = f"Quantizer '{name}': amax 0 ({where}) raised to {AMAX_FLOOR:.1e}."
        quantizer = replace(quantizer, amax=amax.clamp(min=AMAX_FLOOR), notes=(note,))
    return quantizer


def _squeeze(name: str, amax: torch.Tensor) -> tuple[torch.Tensor, int | None]:
    """Reads the axis from the shape of a broadcastable amax, as ``(C, 1, 1, 1)``."""
    if amax.numel() == 1:
        return amax.reshape(()), None
    axes = [axis for axis, size in enumerate(amax.shape) if size > 1]
    if len(axes) > 1:
        raise QuantizerError(
            f"Quantizer '{name}' has one amax per element of axes {axes}; Q/DQ knows one axis.",
            "Quantize the weight per output channel: axis=0.",
        )
    if amax.dim() == 1:
        raise QuantizerError(
            f"Quantizer '{name}' has an amax of shape {tuple(amax.shape)}, which does not say "
            "which axis it belongs to.",
            "Calibrate with the axis kept, for example an amax of shape (C, 1, 1, 1).",
        )
    return amax.flatten(), axes[0]


def _worst(amax: torch.Tensor) -> float:
    bad = amax[torch.isinf(amax) | (amax < 0)]
    return float(bad.flatten()[0])
