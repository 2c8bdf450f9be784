"""Puts quantizers into a model and calibrates them: the steps before fine-tuning.

    insert_quantizers(model)
    calibrate(model, plain_training_images)
    ...train on as before, with an optimizer made from model.parameters() now...

The quantizers are pytorch-quantization's, 8 bit, signed, with codes in [-128, 127]: one range
for training and for the exported Q/DQ pairs. The amax of an activation is one number, that of
a weight one per output channel. Both are buffers, so training leaves them as they are, and a
value beyond amax saturates.
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from trtqat.checks import check_choice, check_kind, check_names
from trtqat.errors import QuantizerError
from trtqat.quant.toolkits.calibration import calibrate
from trtqat.quant.toolkits.range_buffers import fit_to_checkpoint
from trtqat.quant.toolkits.silence import load_toolkit, quiet_toolkit

__all__ = ["calibrate", "insert_quantizers"]

_WITH_WEIGHT_PER_CHANNEL = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# Axis 0 of a transposed convolution's weight, the toolkit's default, is the input channel. A
# scale that differs along the axis that is summed over cannot be taken out of the sum, so
# no INT8 kernel could use it. Axis 1 is the output channel only if groups == 1. One scale for the
# whole weight is right for all of them.
_WITH_WEIGHT_PER_TENSOR = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_INPUT_ONLY = (
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)


def insert_quantizers(
    model: nn.Module,
    *,
    skip: Sequence[str] = (),
    calibrator: Literal["max", "histogram"] = "max",
    transposed: bool = False,
) -> list[str]:
    """Replaces convolutions, linear layers and average pools by quantized ones, in place.

    A replacement holds the very same parameters, buffers and hooks and is in the same mode. Only
    these classes themselves are replaced, not classes derived from them: such a layer may compute
    something else (the output projection of ``nn.MultiheadAttention`` is never called).
    Quantized layers are left alone, so a second call changes nothing. Transposed convolutions stay
    in floating point unless they are asked for: TensorRT 8.6 builds no quantized one.

    Args:
        model: Changed in place. A state dict saved before still loads; ``_amax`` is added to it,
            and what was saved after calibration loads, with ``load_state_dict``, also where the
            ranges are not there yet, with or without a GPU.
        skip: Patterns of dotted names, as ``fnmatch`` reads them, that stay in floating
            point: ``"classifier.6"``, ``"features.*"``.
        calibrator: How activations will be calibrated: by their largest value, or by the
            99.99th percentile. Weights are always calibrated by their largest value.
        transposed: Whether transposed convolutions are quantized, too, for TensorRT 10 and newer.

    Returns:
        Dotted names of the replaced layers in module order; a shared layer is named once.

    Raises:
        QuantizerError: A pattern matches no layer, the model is itself such a layer, or a
            convolution pads in a way that its quantized class does not; nothing is changed then.
        UsageError: An argument is none of those.
        MissingError: pytorch-quantization is not installed.
    """
    check_kind("The model", model, nn.Module, "torch.nn.Module")
    check_names("skip", skip, "skip=['fc', 'features.*']")
    check_choice("calibrator", calibrator, ("max", "histogram"))
    check_kind("transposed", transposed, bool, "transposed=True")
    toolkit = load_toolkit()
    places = _find_places(model, skip, transposed=transposed)
    replacements: dict[int, nn.Module] = {}
    names = []
    with quiet_toolkit():
        for name, module in places:
            if id(module) not in replacements:
                replacements[id(module)] = _quantized(toolkit, module, calibrator)
                names.append(name)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, replacements[id(module)])
    if names:
        # Of the whole model first, whose device the ranges go to; a pool alone does not know one.
        model.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]
    return names


def _make_room(
    module: nn.Module, state: Mapping[str, Any], prefix: str, *_: object, **__: object
) -> None:
    """Registers the buffers that a state dict is about to fill, before the toolkit's own loading.

    The toolkit creates a missing one with ``.cuda()``, which fails on a host without a GPU.
    """
    fit_to_checkpoint(module, state, prefix)


def _find_places(
    model: nn.Module, skip: Sequence[str], *, transposed: bool
) -> list[tuple[str, nn.Module]]:
    """Every name of every layer to replace; all the checks that need no replacement."""
    kinds = (*_WITH_WEIGHT_PER_CHANNEL, *_WITH_WEIGHT_PER_TENSOR, *_INPUT_ONLY)
    found = [
        (name, module)
        for name, module in model.named_modules(remove_duplicate=False)
        if type(module) in kinds
    ]
    if any(name == "" for name, _ in found):
        raise QuantizerError(
            f"The model is a single {type(model).__name__}, which cannot be replaced in place.",
            "Wrap it: torch.nn.Sequential(layer).",
        )
    for pattern in skip:
        if not any(fnmatch.fnmatchcase(name, pattern) for name, _ in found):
            raise QuantizerError(
                f"The pattern '{pattern}' matches no layer that would be quantized.",
                f"The layers are: {', '.join(name for name, _ in found) or 'none'}.",
            )
    skipped = {
        id(module)
        for name, module in found
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in skip)
    }
    places = [
        (name, module)
        for name, module in found
        if id(module) not in skipped and (transposed or type(module) not in _WITH_WEIGHT_PER_TENSOR)
    ]
    for name, module in places:
        padding = getattr(module, "padding_mode", "zeros")
        if padding != "zeros":
            raise QuantizerError(
                f"Layer '{name}' pads with '{padding}', but pytorch-quantization's convolution "
                "pads with zeros, or by half as much.",
                f"Pad with a layer of its own before it, or skip it: skip=['{name}'].",
            )
    return places


def _quantized(toolkit: Any, module: nn.Module, calibrator: str) -> nn.Module:  # noqa: ANN401
    """A quantized layer around the state of ``module``, which itself stays as it is."""
    quantized_class = getattr(toolkit.nn, f"Quant{type(module).__name__}")
    replacement: nn.Module = quantized_class.__new__(quantized_class)
    # Not the constructor: it would initialize weights that are thrown away, and it takes
    # a padding of "same" apart, letter by letter. The three dicts are copied because the
    # quantizers are added to one of them; the tensors in them are the same.
    replacement.__dict__.update(vars(module))
    for kind in ("_parameters", "_buffers", "_modules"):
        replacement.__dict__[kind] = dict(vars(module)[kind])
    describe = toolkit.tensor_quant.QuantDescriptor
    make = toolkit.nn.TensorQuantizer
    replacement._input_quantizer = make(describe(num_bits=8, calib_method=calibrator))
    if not isinstance(module, _INPUT_ONLY):
        axis = 0 if isinstance(module, _WITH_WEIGHT_PER_CHANNEL) else None
        replacement._weight_quantizer = make(describe(num_bits=8, axis=axis))
    for child in replacement.children():
        child.train(module.training)
    # The original's hooks are its own: it may stand in another model.
    replacement._load_state_dict_pre_hooks = copy.copy(module._load_state_dict_pre_hooks)
    replacement.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]
    return replacement
