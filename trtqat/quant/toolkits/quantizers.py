"""What a trained quantizer says, whoever made it.

A toolkit is one reader (``quant.state.Reader``), and ``READERS`` lists them; nothing else that
exports a model knows toolkits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from trtqat.errors import QuantizerError
from trtqat.quant import int8_quantizer
from trtqat.quant.fake_quantize import CODE_MAX, CODE_MIN, FakeQuantize
from trtqat.quant.int8_quantizer import SMALLEST_AMAX
from trtqat.quant.state import QuantizerState, Reader, UncalibratedError
from trtqat.quant.toolkits import modelopt, pytorch_quantization, stand_in, torch_ao

READERS: tuple[Reader, ...] = (int8_quantizer, pytorch_quantization, modelopt, torch_ao, stand_in)

# Scales come from amax / 127. pytorch-quantization maps amax <= 2**-24 to the value zero;
# an ONNX scale must be positive. With this floor such a tensor stays below 6e-8.
AMAX_FLOOR = SMALLEST_AMAX


@dataclass(frozen=True)
class Quantizer:
    """A trained, signed 8-bit quantizer with a constant range.

    Attributes:
        name: Dotted module name, for example ``"features.0._input_quantizer"``.
        scale: Float32, shape ``()`` for per-tensor or ``(C,)`` for per-channel; all > 0.
        axis: The channel axis of a per-channel quantizer, else None.
        low: Lowest code, -128 unless the quantizer clips earlier (narrow range, learned range).
        high: Highest code.
        multiplier: Float32 factor on its input, broadcastable against it, or None.
        notes: What had to be changed or will surprise, one sentence each.
    """

    name: str
    scale: torch.Tensor
    axis: int | None = None
    low: float = CODE_MIN
    high: float = CODE_MAX
    multiplier: torch.Tensor | None = None
    notes: tuple[str, ...] = ()

    def stand_in(self) -> FakeQuantize:
        """A module that quantizes as the exported Q/DQ pair does."""
        return FakeQuantize(self.name, self.scale, self.axis, self.low, self.high, self.multiplier)


def read_quantizers(
    model: torch.nn.Module, never_runs: Callable[[str], bool] = lambda _: False
) -> dict[str, Quantizer | None]:
    """Reads every quantizer of a model.

    Args:
        model: Any module; quantizers of known toolkits are found by class.
        never_runs: Asked with the name of one that cannot be exported; nothing depends on it
            where the answer is yes. A layer that calibration did not reach has such ones.

    Returns:
        Quantizers by dotted name in module order; None for a disabled one, and for one that
        cannot be exported and never runs.

    Raises:
        QuantizerError: One that runs has no exact Q/DQ equivalent.
    """
    found: dict[str, Quantizer | None] = {}
    for name, module, reader in quantizers_of(model):
        try:
            state = reader.read(name, module)
            found[name] = None if state is None else _checked(name, state)
        except QuantizerError as error:
            if not never_runs(name):
                if isinstance(error, UncalibratedError) and _may_be_fused(model, name):
                    raise _skipped_by_calibration(error) from error
                raise
            found[name] = None
    return found


def quantizers_of(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, Reader]]:
    """Every quantizer of a known toolkit with its dotted name and who reads it, in module order."""
    for name, module in model.named_modules():
        for reader in READERS:
            if reader.is_quantizer(module):
                yield name, module, reader


def _may_be_fused(model: torch.nn.Module, name: str) -> bool:
    """Whether a quantizer stands in what PyTorch computes by one operator in eval mode."""
    parts = name.split(".")
    above = (model.get_submodule(".".join(parts[:count])) for count in range(len(parts)))
    fused = (torch.nn.TransformerEncoderLayer, torch.nn.MultiheadAttention)
    return any(isinstance(each, fused) for each in above)


def _skipped_by_calibration(error: UncalibratedError) -> UncalibratedError:
    return UncalibratedError(
        error.problem,
        "PyTorch's fused transformer path skips it in eval mode: calibrate again behind "
        "torch.backends.mha.set_fastpath_enabled(False), or disable the quantizer.",
    )


def _checked(name: str, state: QuantizerState) -> Quantizer:
    """The rules that hold for every toolkit: signed, 8 bit, one axis, a sound range."""
    if state.bits != 8 or state.unsigned:
        kind = f"{'unsigned' if state.unsigned else 'signed'} {state.bits}-bit"
        raise QuantizerError(
            f"Quantizer '{name}' is {kind}; TensorRT's INT8 is signed and symmetric.",
            "Train it with num_bits=8 and unsigned=False.",
        )
    word, given = ("amax", state.amax) if state.amax is not None else ("scale", state.scale)
    assert given is not None
    if given.dtype in (torch.float16, torch.bfloat16):
        raise QuantizerError(
            f"Quantizer '{name}' holds its {word} in {given.dtype}, which rounds the scale.",
            "Convert the model with .float() before calibrating, and again before the export.",
        )
    # A copy, so that nothing that the model does while it runs can change it.
    values = given.detach().to("cpu", torch.float32, copy=True)
    if state.amax is not None:
        values, axis = _squeeze(name, values)
    else:
        values, axis = _with_axis(values, state.axis)
    _check_values(name, word, values)
    notes = []
    if state.amax is not None:
        floored = values < AMAX_FLOOR
        if floored.any():
            count = f"{int(floored.sum())} of {values.numel()} channels"
            where = count if axis is not None else "all"
            notes.append(f"Quantizer '{name}': amax 0 ({where}) raised to {AMAX_FLOOR:.1e}.")
        values = values.clamp(min=AMAX_FLOOR) / CODE_MAX
    multiplier = state.multiplier
    if multiplier is not None:
        multiplier = multiplier.detach().to("cpu", torch.float32, copy=True)
        notes.append(
            f"Quantizer '{name}' multiplies its input by a scale for each channel (SmoothQuant): "
            "a Mul stands before its Q/DQ pair."
        )
    return Quantizer(name, values, axis, state.low, state.high, multiplier, tuple(notes))


def _check_values(name: str, word: str, values: torch.Tensor) -> None:
    if torch.isnan(values).any():
        raise QuantizerError(
            f"Quantizer '{name}' has a NaN {word}: it was never calibrated, or training diverged.",
            "Calibrate it on representative data, or disable it.",
        )
    # An amax of 0 is a tensor of zeros, and gets a floor; a scale of 0 is a division by zero.
    bad = torch.isinf(values) | (values < 0) | ((values == 0) & (word == "scale"))
    if bad.any():
        raise QuantizerError(
            f"Quantizer '{name}' has {'an' if word == 'amax' else 'a'} {word} of "
            f"{float(values[bad].flatten()[0])}; it must be finite and positive.",
            "Calibrate it again on data without infinities.",
        )


def _with_axis(scale: torch.Tensor, axis: int | None) -> tuple[torch.Tensor, int | None]:
    """A single scale is one for the tensor, also where it is that of a single channel."""
    if scale.numel() == 1:
        return scale.reshape(()), None
    assert axis is not None
    return scale.flatten(), axis


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
