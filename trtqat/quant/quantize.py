"""``trtqat.quantize``: a float model becomes an INT8 one, ready to export or to fine-tune.

record   one run shows what the model computes           placing/recording.py
place    rules decide which tensors are quantized        placing/placement.py
observe  the quantizers look at the data                 ranges/observing.py
choose   each gets its range                             ranges/activation_ranges.py,
                                                         ranges/weight_ranges.py
"""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from trtqat.checks import check_choice, check_kind, check_names
from trtqat.errors import QuantizerError, first_line
from trtqat.quant.feeding import (
    Arguments,
    arguments_of,
    check_batches,
    device_of,
    on_arguments,
    told,
)
from trtqat.quant.has_values import check_has_values, check_plain_weights
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.kept_state import buffers_kept
from trtqat.quant.module_by_module import module_by_module
from trtqat.quant.placing.placed import (
    copied,
    placed_quantizers,
    put_quantizers,
    take_quantizers_off,
)
from trtqat.quant.placing.placement import Layer, Placement, Target, place_quantizers
from trtqat.quant.placing.reasons import AS_ASKED, NO_TRANSPOSED
from trtqat.quant.placing.recording import record
from trtqat.quant.placing.steps import Recording
from trtqat.quant.ranges.activation_ranges import ActivationMethod
from trtqat.quant.ranges.observing import SeenRange, calibrated
from trtqat.quant.recipe import Recipe, recipe_of, remember, save_quantized, unwrapped
from trtqat.user_code import exits_told, in_words, place_of

_LOG = logging.getLogger(__name__)

METHODS = get_args(ActivationMethod)
TARGETS = get_args(Target)
# Samples of the batch that is recorded; two, so that no shape is taken for the batch's.
_RECORDED = 2


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized model, and what was done.

    Attributes:
        model: The model with its quantizers: trainable, and to be exported as it is.
        layers: Every convolution and product, in the order of the run, with why some stay float;
            then those that did not run, without MACs.
        ranges: Of the quantizers, the worst SQNR first.
        images: Samples that were seen.
        recording: The run by which the quantizers were placed.
    """

    model: nn.Module
    layers: tuple[Layer, ...]
    ranges: tuple[SeenRange, ...]
    images: int
    recording: Recording

    @property
    def int8_share(self) -> float:
        """Share of the multiply-accumulates in quantized layers, 0 to 1."""
        total = sum(layer.macs for layer in self.layers)
        return sum(layer.macs for layer in self.layers if not layer.kept) / total if total else 0.0

    def save(self, path: str | Path) -> None:
        """Writes state dict and recipe, for ``--checkpoint`` and ``trtqat.load_quantized``.

        Raises:
            UsageError: The file cannot be written.
        """
        save_quantized(self.model, path)

    def __repr__(self) -> str:
        quantized = sum(not layer.kept for layer in self.layers)
        return (
            f"Quantized({type(self.model).__name__}, {quantized} of {len(self.layers)} layers, "
            f"{self.int8_share:.1%} of the MACs, {len(self.ranges)} quantizers, "
            f"{self.images} images)"
        )


def quantize(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    method: ActivationMethod = "auto",
    keep: Sequence[str] = (),
    for_: Target | None = None,
    progress: Callable[[int], object] | None = None,
) -> Quantized:
    """Quantizes a float model for INT8 in TensorRT, without training it.

    Args:
        model: In floating point, on any device. It is not changed: what is returned is a copy,
            of a DistributedDataParallel, AveragedModel or compiled model that of the model inside.
        batches: Plain training data, neither augmented nor test data. A batch is what ``forward``
            takes: a tensor, a tuple or list of positional arguments, or a dict of keyword
            arguments; tensors have shape ``(N, …)``. All of them are seen once.
        method: How ranges are chosen. "auto" takes for each tensor what has the least error on
            the data. Weights have "max", or for "auto" and "mse" the least squared error.
        keep: Patterns of names of layers or modules that stay in floating point, as ``fnmatch``
            reads them: ``"fc"``, ``"layer1.*"``.
        for_: The TensorRT that it is for: "8.6", "10", "11" or "rtx". None for what each can
            build.
        progress: Called with the samples seen so far, after every batch.

    Returns:
        The quantized model, in eval mode, and what its quantizers saw.

    Raises:
        QuantizerError: A pattern matches nothing, there is nothing to quantize, a batch does not
            fit, forward casts what would be quantized to another float type, or a quantizer saw
            nothing or values that are not finite.
        UsageError: An argument has a wrong type or value.
    """
    check_kind("The model", model, nn.Module, "torch.nn.Module")
    check_choice("method", method, METHODS)
    check_names("keep", keep, "keep=['fc', 'layer1.*']")
    if for_ is not None:
        check_choice("for_", for_, TARGETS)
    check_batches(batches)
    batches = iter(told(batches))
    first = next(batches, None)
    if first is None:
        raise QuantizerError("There was no batch to calibrate on.", "Give at least one.")
    model = unwrapped(model)
    check_has_values(model, QuantizerError)
    check_plain_weights(model, QuantizerError)
    # What is made in inference mode can neither be trained nor told apart after a change.
    with torch.inference_mode(mode=False):
        model = _copied(model).eval()
        with buffers_kept(model):
            recording = recorded(model, first)
            placement = place_quantizers(recording, keep=keep, for_=for_)
            _check_any(model, recording, placement)
            _check_types(model, recording, placement)
            quantizers = {
                planned: Int8Quantizer(planned.axis, is_weight=planned.is_weight)
                for planned in placement.quantizers
            }
            put_quantizers(model, quantizers, placement.counts)
            batches = itertools.chain([first], batches)
            ranges, images = calibrated(model, batches, method, progress)
    methods = {each.name: each.method for each in ranges}
    remember(model, Recipe.of(model, methods, keep=tuple(keep), for_=for_, images=images))
    return Quantized(model, placement.layers, ranges, images, recording)


def keeping(quantized: Quantized, keep: Sequence[str]) -> Quantized:
    """The same model with some more layers in floating point; all ranges stay as they are.

    What was quantized only for those layers, as the skip operand of a sum, is so no more.

    Args:
        quantized: Is not changed.
        keep: Patterns of names of layers or modules, besides those that were kept already.

    Raises:
        QuantizerError: A pattern matches nothing, or nothing quantized is left.
    """
    recipe = recipe_of(quantized.model)
    keep = (*recipe.keep, *keep)
    known = {place: each for each in placed_quantizers(quantized.model) for place in each.places}
    model = copied(quantized.model)
    take_quantizers_off(model)
    placement = place_quantizers(quantized.recording, keep=keep, for_=recipe.for_)
    _check_any(model, quantized.recording, placement)
    # A layer that is kept may change which operand of a sum is quantized: that one has no range.
    planned = [each for each in placement.quantizers if each.places[0] in known]
    quantizers = {}
    for each in planned:
        quantizers[each] = copy.deepcopy(known[each.places[0]].module)
    put_quantizers(model, quantizers, placement.counts)
    seen = {place: each for each in quantized.ranges for place in each.places}
    methods = {}
    ranges = []
    for placed in placed_quantizers(model):
        places = tuple(map(str, placed.places))
        seen_range = replace(seen[places[0]], name=placed.name, places=places)
        methods[placed.name] = seen_range.method
        ranges.append(seen_range)
    images = quantized.images
    remember(model, Recipe.of(model, methods, keep=keep, for_=recipe.for_, images=images))
    ordered = tuple(sorted(ranges, key=lambda each: each.sqnr_db))
    return Quantized(model, placement.layers, ordered, images, quantized.recording)


def recorded(model: nn.Module, batch: object) -> Recording:
    """Records a run of a model on the first samples of a batch, or on all of it.

    Args:
        model: In eval mode.
        batch: What forward takes.

    Raises:
        QuantizerError: The model raises on it.
    """
    whole = arguments_of(batch, device_of(model))
    with module_by_module():
        try:
            return record(model, *_first_samples(whole))
        except QuantizerError:
            raise
        # A model may be made for one batch size, or take what has no batch.
        except Exception as error:
            _LOG.debug("Recording %d samples failed: %s", _RECORDED, first_line(error))
        with exits_told("The model's forward", QuantizerError):
            try:
                return record(model, *whole)
            except QuantizerError:
                raise
            except Exception as error:
                seen = f"See {place}. " if (place := place_of(error)) else ""
                raise QuantizerError(
                    f"The model does not take a batch for calibration: {in_words(error)}.",
                    f"{seen}A batch is what forward takes, as tensors: leave the labels out.",
                ) from error


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copied(model)
    except Exception as error:
        raise QuantizerError(
            f"The model cannot be copied: {first_line(error)}.",
            "Give trtqat.quantize a model that copy.deepcopy takes.",
        ) from error


def _first_samples(arguments: Arguments) -> Arguments:
    def cut(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[:_RECORDED] if tensor.dim() else tensor

    return on_arguments(cut, arguments)


def _check_any(model: nn.Module, recording: Recording, placement: Placement) -> None:
    if placement.quantizers:
        return
    if recording.unseen:
        name, kind = next(iter(recording.unseen.items()))
        raise QuantizerError(
            f"Nothing of {type(model).__name__} can be quantized: "
            f"'{name or 'the model'}' is TorchScript ({kind}), into which nothing can be put.",
            "Quantize the PyTorch model that it was made of.",
        )
    kept = next((layer for layer in placement.layers if layer.kept != AS_ASKED), None)
    reason = f": '{kept.name}' stays in floating point, as {kept.kept}" if kept else ""
    remedy = "Give another model, made of convolutions, linear layers or products of activations."
    if placement.layers and kept is None:
        remedy = "Leave fewer of them in floating point."
    elif any(layer.kept in NO_TRANSPOSED.values() for layer in placement.layers):
        remedy = "TensorRT 10 and 11 build one: give --for 10, and export with --opset 19."
    raise QuantizerError(
        f"{type(model).__name__} has no layer that would be quantized, of "
        f"{len(placement.layers)} convolutions and products{reason}.",
        remedy,
    )


def _check_types(model: nn.Module, recording: Recording, placement: Placement) -> None:
    """Refuses what a forward computes in another float type than the model has.

    A graph in float32 has other codes than such numbers, and a layer of others is not INT8 in it.
    """
    known = {torch.float32, *(each.dtype for each in model.parameters())}
    quantized = {(place.path, place.call) for q in placement.quantizers for place in q.places}
    for step in recording.calls:
        if (step.path, step.call) not in quantized:
            continue
        values = itertools.chain(*step.operands.values(), step.outputs)
        other = next((each.dtype for each in values if each.dtype not in known), None)
        if other is not None:
            raise QuantizerError(
                f"'{step.layer}' computes in {str(other).removeprefix('torch.')}, and INT8 is made "
                "of float32.",
                "Leave torch.autocast and other casts out of forward; trtqat export --precision "
                "fp16 makes FP16 of what is not INT8.",
            )
