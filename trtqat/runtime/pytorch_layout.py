"""How the numbers of a PyTorch model lie in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable

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


def layout_that_runs(
    model: torch.nn.Module, run: Callable[[torch.memory_format], object]
) -> torch.memory_format:
    """Looks whether a model runs with channels last, and lays it with channels first if it must.

    What ``view()`` and ``view_as_complex()`` take depends on how the numbers lie.

    Args:
        model: With channels last; changed in place.
        run: Runs it once, on inputs of the layout that it is given.

    Returns:
        The layout.

    Raises:
        Exception: What it raised with channels last, if it runs with neither.
    """
    try:
        run(torch.channels_last)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        channels_first(model)
        try:
            run(torch.contiguous_format)
        except torch.OutOfMemoryError:
            raise
        except Exception:
            channels_last(model)
        else:
            return torch.contiguous_format
        raise
    return torch.channels_last


def _laid(model: torch.nn.Module, layout: torch.memory_format) -> torch.nn.Module:
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)
    return model
