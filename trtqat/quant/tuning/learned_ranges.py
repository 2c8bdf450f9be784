"""Ranges that are learned: what a step of training does to them.

The gradient of a range is that of LSQ's step size (Esser et al., "Learned Step Size Quantization",
https://arxiv.org/abs/1902.08153, equation 3); ``int8_quantizer.py`` has it. What is learned is the
logarithm of each range, by Adam, as TQT does (Jain et al., "Trained Quantization Thresholds",
https://arxiv.org/abs/1903.08066): a range stays positive, and the learning rate is the share by
which a step changes it, whatever the size of the tensor. LSQ itself changes the step by SGD with
the gradient times 1 / √(N · 127). Tried on digits, with channels of very unequal size, that moved
ranges by factors from 2^-20 to 2^13 in 110 steps. Adam divides by the size of the gradient, so
that such a factor would change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from trtqat.quant.int8_quantizer import SMALLEST_AMAX, Int8Quantizer
from trtqat.quant.recipe import recipe_of, remember
from trtqat.quant.tuning.checkpoint import is_distributed


class LearnedRanges:
    """The ranges of a model's quantizers as parameters, until ``close``.

    Attributes:
        names: Of the quantizers, in module order.
        logarithms: Of all ranges in one vector ``(R,)``, float32: what an optimizer is to change.
    """

    def __init__(self, model: nn.Module) -> None:
        """Makes every ``amax`` a parameter under the same key of the state dict.

        Args:
            model: With quantizers of ``trtqat.quantize``; those of toolkits stay as they are.
        """
        found = {
            name: each for name, each in model.named_modules() if isinstance(each, Int8Quantizer)
        }
        self._model = model
        self.names = list(found)
        self._quantizers = list(found.values())
        for quantizer in self._quantizers:
            amax = quantizer._buffers.pop("amax")
            assert amax is not None
            quantizer.amax = nn.Parameter(amax.clamp(min=SMALLEST_AMAX))
        self._sizes = [each.numel() for each in self.amaxes]
        self.logarithms = nn.Parameter(self._vector().log())
        self._start = self._vector()

    @property
    def amaxes(self) -> list[torch.Tensor]:
        """The parameters in the model."""
        return [each.amax for each in self._quantizers]

    def take_gradients(self) -> None:
        """Hands the gradients of the ranges over to their logarithms: dL/dlog a = a · dL/da.

        Processes that train together have the mean of theirs, as DistributedDataParallel knows
        only the parameters that were there when it was made.
        """
        gradients = [torch.zeros_like(a) if a.grad is None else a.grad for a in self.amaxes]
        gradient = torch.cat([each.flatten() for each in gradients]) * self._vector()
        if is_distributed():
            torch.distributed.all_reduce(gradient)
            gradient /= torch.distributed.get_world_size()
        self.logarithms.grad = gradient
        for amax in self.amaxes:
            amax.grad = None

    def write(self) -> None:
        """Gives the model the ranges whose logarithms these are."""
        ranges = torch.split(self.logarithms.detach().exp(), self._sizes)
        for amax, values in zip(self.amaxes, ranges, strict=True):
            amax.detach().copy_(values.view_as(amax))

    def changes(self) -> dict[str, float]:
        """By quantizer, the largest factor by which a range of it grew or shrank, as log2."""
        factors = torch.split((self._vector() / self._start).log2(), self._sizes)
        return {
            name: float(each[each.abs().argmax()])
            for name, each in zip(self.names, factors, strict=True)
        }

    def state(self) -> dict[str, torch.Tensor]:
        """The logarithms, and the ranges before the training."""
        return {"logarithms": self.logarithms.detach(), "start": self._start}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes back what ``state`` returned; the model's own state dict has the ranges."""
        self.logarithms.detach().copy_(state["logarithms"])
        self._start.copy_(state["start"])

    def close(self) -> None:
        """Makes the ranges buffers again; the recipe says that they are no longer calibration's."""
        for quantizer in self._quantizers:
            amax = quantizer._parameters.pop("amax")
            assert amax is not None
            quantizer.register_buffer("amax", amax.detach())
        recipe, names = recipe_of(self._model), set(self.names)
        quantizers = [
            replace(each, method="learned") if each.name in names else each
            for each in recipe.quantizers
        ]
        remember(self._model, replace(recipe, quantizers=quantizers))

    def _vector(self) -> torch.Tensor:
        return torch.cat([each.detach().flatten() for each in self.amaxes])
