"""How the numbers of a PyTorch model lie in memory."""

from __future__ import annotations

import itertools

import torch


def channels_last(model: torch.nn.Module) -> torch.nn.Module:
    """Puts channels last in every weight of four dimensions, in place.

    It is the faster layout of 2D convolutions. ``Module.to`` raises where one of five dimensions
    stands beside them, as those of 3D convolutions do.

    Returns:
        The model.
    """
    return _laid(model, torch.channels_last)


def channels_first(model: torch.nn.Module) -> torch.nn.Module:
    """Takes back what ``channels_last`` did, in place.

    Returns:
        The model.
    """
    return _laid(model, torch.contiguous_format)


def _laid(model: torch.nn.Module, layout: torch.memory_format) -> torch.nn.Module:
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)
    return model
