"""What is trained of a quantized model besides its ranges: by whom, and at which rate."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from trtqat.errors import UsageError
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.tuning.options import FineTuneOptions

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, _InstanceNorm)


def weights_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """What layers multiply by, and may change, by the layer's name."""
    return {
        name.removesuffix(".weight"): each
        for name, each in model.named_parameters()
        if each.dim() > 1 and each.requires_grad
    }


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What is trained besides ranges: weights with decay, all else without."""
    ranges = {id(each.amax) for each in model.modules() if isinstance(each, Int8Quantizer)}
    of_norms = {
        id(each)
        for module in model.modules()
        if isinstance(module, _NORMS)
        for each in module.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for each in model.parameters():
        if each.requires_grad and id(each) not in ranges:
            (decayed if each.dim() > 1 and id(each) not in of_norms else others).append(each)
    if not decayed:
        raise UsageError(
            f"{type(model).__name__} has no weight that may change.",
            "Leave requires_grad on where it is to learn.",
        )
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def optimizer_of(groups: list[dict[str, Any]], options: FineTuneOptions) -> torch.optim.Optimizer:
    """The optimizer of what ``parameter_groups`` returned."""
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.highest_lr)
    return torch.optim.SGD(groups, lr=options.highest_lr, momentum=options.momentum)


def scheduled_share(position: float, epochs: int, steps: int, warm_up: float) -> float:
    """The learning rate of a step over the highest, from the step alone: nothing compounds.

    Args:
        position: Epochs done, with their fraction.
        epochs: Of the training; the rate has fallen to zero after the last one.
        steps: In an epoch.
        warm_up: Share of the training in which the rate rises evenly.
    """
    rise = (position + 1 / steps) / (warm_up * epochs) if warm_up else 1.0
    return min(1.0, rise) * 0.5 * (1.0 + math.cos(math.pi * position / epochs))


@contextlib.contextmanager
def without_denormals(device: torch.device) -> Iterator[None]:
    """Once a model has learned, many gradients are denormal: a CPU is 20 times slower on them."""
    flushes = device.type == "cpu" and torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if flushes:
            torch.set_flush_denormal(False)
