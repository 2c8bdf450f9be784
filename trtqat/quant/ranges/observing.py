"""Gives quantizers of ours their ranges: each looks at the data, then gets its range."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trtqat.errors import QuantizerError
from trtqat.quant.feeding import arguments_of, device_of, on_tensors, run_batch
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.module_by_module import module_by_module
from trtqat.quant.placing.placed import Placed, placed_quantizers
from trtqat.quant.ranges.activation_ranges import ActivationMethod, activation_range
from trtqat.quant.ranges.histogram import MagnitudeHistogram
from trtqat.quant.ranges.weight_ranges import WeightMethod, weight_range
from trtqat.user_code import user_code

_WAY_OUT = "Leave out samples that the model does not take, as an index beyond its table."


@dataclass(frozen=True)
class SeenRange:
    """What a quantizer saw, and the range that it got.

    Attributes:
        name: Its dotted name.
        places: Where it stands, as ``"layer1.0.add.right"``.
        is_weight: Whether it stands on a weight.
        method: How its range was chosen.
        minimum: Least value.
        maximum: Greatest value.
        amax: Largest magnitude that it represents; of a weight that of the widest channel.
        clipped: Share of the values beyond the range, 0 to 1.
        sqnr_db: Signal-to-quantization-noise ratio on the data, in dB.
    """

    name: str
    places: tuple[str, ...]
    is_weight: bool
    method: str
    minimum: float
    maximum: float
    amax: float
    clipped: float
    sqnr_db: float


def calibrated(
    model: nn.Module,
    batches: Iterable[Any],
    method: ActivationMethod,
    progress: Callable[[int], object] | None = None,
) -> tuple[tuple[SeenRange, ...], int]:
    """Gives the quantizers of ours their ranges.

    Args:
        model: In eval mode, with quantizers at their places.
        batches: As for ``quantize``.
        method: How ranges are chosen.
        progress: Called with the samples seen so far.

    Returns:
        What each saw, the worst first, and the number of samples.

    Raises:
        QuantizerError: A quantizer saw nothing, or values that are not finite, or forward raises.
    """
    placed = placed_quantizers(model)
    device = device_of(model)
    images = 0
    with _observing([each.module for each in placed]) as seen, torch.no_grad(), module_by_module():
        for number, batch in enumerate(batches, 1):
            when = f" on batch {number} of the calibration"
            with user_code("The model's forward", QuantizerError, _WAY_OUT, when=when):
                run_batch(model, batch, device)
            for observer in seen.values():
                observer.ends_batch()
            images += _size(batch)
            if progress is not None:
                progress(images)
    ranges = []
    for each in placed:
        observed = seen[each.module]
        choose = _weight if each.module.is_weight else _activation
        ranges.append(choose(each, observed, method))
    return tuple(sorted(ranges, key=lambda each: each.sqnr_db)), images


class _Observer:
    """What one quantizer saw: an activation's histogram, or a weight itself."""

    def __init__(self, *, is_weight: bool) -> None:
        self.is_weight = is_weight
        self.histogram = MagnitudeHistogram()
        self.tensor: torch.Tensor | None = None
        self.dim = 0
        self._last: list[tuple[weakref.ref[torch.Tensor], int]] = []

    def __call__(self, x: torch.Tensor) -> None:
        self.dim = x.dim()
        if self.is_weight:
            self.tensor = x if self.tensor is None else self.tensor
            return
        # A tensor that several layers read is seen once.
        if any(seen() is x and version == x._version for seen, version in self._last):
            return
        self._last = [each for each in self._last if each[0]() is not None]
        self._last.append((weakref.ref(x), x._version))
        self.histogram.add(x)

    def ends_batch(self) -> None:
        """Of the next batch a tensor is another one, also one that was written to unseen."""
        self._last.clear()


@contextmanager
def _observing(quantizers: Sequence[Int8Quantizer]) -> Iterator[dict[Int8Quantizer, _Observer]]:
    observers = {each: _Observer(is_weight=each.is_weight) for each in quantizers}
    try:
        for quantizer, observer in observers.items():
            quantizer.observer = observer
        yield observers
    finally:
        for quantizer in observers:
            quantizer.observer = None


def _activation(placed: Placed, seen: _Observer, method: ActivationMethod) -> SeenRange:
    found = activation_range(seen.histogram, method, name=placed.name)
    placed.module.set_range(torch.tensor(found.amax), seen.dim)
    return SeenRange(
        placed.name,
        tuple(map(str, placed.places)),
        False,
        found.method,
        seen.histogram.minimum,
        seen.histogram.maximum,
        found.amax,
        found.clipped,
        found.sqnr_db,
    )


def _weight(placed: Placed, seen: _Observer, method: ActivationMethod) -> SeenRange:
    if seen.tensor is None:
        raise QuantizerError(
            f"Quantizer '{placed.name}' saw no data: its layer was not called.",
            "Calibrate on batches that reach it, or leave it in floating point.",
        )
    weight = seen.tensor.detach()
    places = tuple(map(str, placed.places))
    found, amax = see_weight(placed.name, places, weight, placed.module.axis, method)
    placed.module.set_range(amax, seen.dim)
    return found


def see_weight(
    name: str,
    places: tuple[str, ...],
    weight: torch.Tensor,
    axis: int | None,
    method: ActivationMethod,
) -> tuple[SeenRange, torch.Tensor]:
    """The range of a weight, which is known without data.

    Args:
        name: Of its quantizer.
        places: What reads it, in words.
        weight: The weight.
        axis: Of its output channels; None has one range for all.
        method: How ranges of activations are chosen; a weight's follow it.

    Returns:
        What is told of it, and its largest magnitudes, one or one a channel.

    Raises:
        QuantizerError: The weight is empty, or not finite.
    """
    of_weights: WeightMethod = "auto" if method in ("auto", "mse") else "max"
    found = weight_range(weight, axis, of_weights, name=name)
    seen = SeenRange(
        name,
        places,
        True,
        found.method,
        float(weight.min()),
        float(weight.max()),
        float(found.amax.max()),
        found.clipped,
        found.sqnr_db,
    )
    return seen, found.amax


def _size(batch: object) -> int:
    sizes: list[int] = []
    on_tensors(lambda each: sizes.extend(each.shape[:1]), arguments_of(batch, torch.device("cpu")))
    return next(iter(sizes), 1)
