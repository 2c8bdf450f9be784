"""Calibrates pytorch-quantization's quantizers: the range of each, from data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from trtqat.errors import QuantizerError
from trtqat.quant.feeding import check_batches, device_of, run_batch, told
from trtqat.quant.module_by_module import module_by_module
from trtqat.quant.toolkits.pytorch_quantization import is_quantizer
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.user_code import user_code

# What the histogram calibrator keeps inside amax, in percent of the values: the toolkit's
# default. Its other two methods are no choice here: "mse" needs a GPU, "entropy" takes minutes.
HISTOGRAM_PERCENTILE = 99.99
_WAY_OUT = "Give batches as forward takes them, of finite numbers."


def calibrate(model: nn.Module, batches: Iterable[Any]) -> None:
    """Sets the amax of every enabled quantizer from data, in eval mode and without gradients.

    Afterwards each module is in the mode that it was in, and the quantizers quantize, also
    if this fails; no amax is changed then. Quantizers with a learned range are left alone.

    Args:
        model: On any device; it has quantizers.
        batches: Plain training data, not augmented and never test data. A batch is what the model
            takes: a tensor, a tuple or list of positional arguments, or a dict of keyword
            arguments. Tensors are moved to the model's device.

    Raises:
        QuantizerError: The model has no quantizer to calibrate, there was no batch, a quantizer
            saw no data, or it saw values that are not finite, or forward raises.
        UsageError: The batches are a single one, or cannot be iterated.
    """
    check_batches(batches)
    quantizers: dict[str, Any] = {
        name: module
        for name, module in model.named_modules()
        if is_quantizer(module) and not module._disabled and not module._learn_amax
    }
    if not quantizers:
        raise QuantizerError(
            "The model has no quantizer to calibrate.", "Call insert_quantizers(model) first."
        )
    device = device_of(model)
    with (
        quiet_toolkit(),
        torch.no_grad(),
        module_by_module(),
        _calibration_mode(model, quantizers),
    ):
        count = 0
        for count, batch in enumerate(told(batches), start=1):
            when = f" on batch {count} of the calibration"
            with (
                user_code("The model's forward", QuantizerError, _WAY_OUT, when=when),
                _zero_width_explained(quantizers),
            ):
                run_batch(model, batch, device)
        if not count:
            raise QuantizerError("There was no batch to calibrate on.", "Give at least one.")
        amaxes = {name: _computed_amax(name, each) for name, each in quantizers.items()}
        for name, quantizer in quantizers.items():
            # Not the toolkit's load_calib_amax: that keeps the calibrator's own tensor, which the
            # next calibration would write into, and refuses a buffer of another shape.
            quantizer.register_buffer("_amax", amaxes[name])


@contextlib.contextmanager
def _calibration_mode(model: nn.Module, quantizers: Mapping[str, Any]) -> Iterator[None]:
    """Eval mode with quantizers that collect and let everything through; undone at exit."""
    # Per module, because a frozen BatchNorm stays in eval mode while the rest trains.
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for quantizer in quantizers.values():
            quantizer._calibrator.reset()
            quantizer.disable_quant()
            quantizer.enable_calib()
        yield
    finally:
        for quantizer in quantizers.values():
            quantizer.disable_calib()
            quantizer.enable_quant()
            quantizer._calibrator.reset()
        for module, was_training in training.items():
            module.training = was_training


@contextlib.contextmanager
def _zero_width_explained(quantizers: Mapping[str, Any]) -> Iterator[None]:
    """Names the quantizer whose first batch was all zeros: its histogram has bins of no width."""
    try:
        yield
    except OverflowError as error:
        for name, quantizer in quantizers.items():
            edges = getattr(quantizer._calibrator, "_calib_bin_edges", None)
            if edges is not None and float(edges[-1]) == 0.0:
                raise QuantizerError(
                    f"Quantizer '{name}' saw only zeros in its first batch, which its histogram "
                    "cannot start from.",
                    "Begin with a larger batch, or use calibrator='max'.",
                ) from error
        raise


def _computed_amax(name: str, quantizer: Any) -> torch.Tensor:  # noqa: ANN401
    calibrator = quantizer._calibrator
    histogram = hasattr(calibrator, "_calib_hist")
    amax: torch.Tensor | None = (
        calibrator.compute_amax("percentile", percentile=HISTOGRAM_PERCENTILE)
        if histogram
        else calibrator.compute_amax()
    )
    if amax is None:
        layer = name.rpartition(".")[0]
        raise QuantizerError(
            f"Quantizer '{name}' saw no data: its layer was not called.",
            "Calibrate on batches that reach it; if forward never calls it, leave it out: "
            f"insert_quantizers(model, skip=['{layer}']).",
        )
    if not torch.isfinite(amax).all():
        raise QuantizerError(
            f"Quantizer '{name}' saw values that are not finite.",
            "Check the batches and the weights for NaN and infinity.",
        )
    # The percentile comes back on the CPU, whatever device the data was on.
    device = calibrator._calib_hist.device if histogram else amax.device
    amax = amax.detach().to(device, torch.float32, copy=True)
    # The two calibrators give a single amax different shapes; a checkpoint should have one.
    return amax.reshape(()) if quantizer._axis is None else amax
