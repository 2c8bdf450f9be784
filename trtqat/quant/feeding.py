"""Batches of whoever calibrates or trains, as a model's forward takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from trtqat.errors import QuantizerError, UsageError, first_line
from trtqat.user_code import exits_told

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def check_batches(batches: object) -> None:
    """Refuses what would be iterated over something else than batches.

    Raises:
        UsageError: It is one batch, or cannot be iterated.
    """
    kind = type(batches).__name__
    if isinstance(batches, (torch.Tensor, Mapping, str)):
        raise UsageError(
            f"The batches are a single {kind}.",
            "Give a list of batches, as [images], or what yields them.",
        )
    if not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
        raise UsageError(
            f"The batches are a {kind}, which cannot be iterated.",
            "Give a DataLoader without labels, or a list.",
        )


def told(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches; a sentence where whoever makes them would end the program."""
    with exits_told("What gives the batches for calibration", QuantizerError):
        iterator = iter(batches)
    while True:
        with exits_told("What gives the batches for calibration", QuantizerError):
            try:
                batch = next(iterator)
            except StopIteration:
                return
        yield batch


def arguments_of(batch: object, device: torch.device) -> Arguments:
    """The arguments that a batch is for forward, as copies that it may write into.

    Batches are given more than once, and to several models.

    Args:
        batch: A tensor, a tuple or list of positional arguments, or a dict of keyword arguments;
            an argument may hold its tensors in dicts, lists and tuples.
        device: Where its tensors go.
    """

    def move(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(device, copy=True)

    if isinstance(batch, Mapping):
        return (), {name: on_tensors(move, value) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return tuple(on_tensors(move, value) for value in batch), {}
    return (on_tensors(move, batch),), {}


def on_arguments(function: Callable[[torch.Tensor], object], arguments: Arguments) -> Arguments:
    """``on_tensors`` of each argument."""
    args, kwargs = arguments
    changed = {name: on_tensors(function, each) for name, each in kwargs.items()}
    return tuple(on_tensors(function, each) for each in args), changed


def on_tensors(function: Callable[[torch.Tensor], object], value: object) -> object:
    """A value with another one for each tensor in it.

    Args:
        function: Makes the other one.
        value: A tensor, or dicts, lists and tuples of such; all else stays.
    """
    if isinstance(value, torch.Tensor):
        return function(value)
    if type(value) is dict:
        return {name: on_tensors(function, each) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        make: Callable[..., object] = type(value)
        return make(*(on_tensors(function, each) for each in value))
    if type(value) is tuple:
        return tuple(on_tensors(function, each) for each in value)
    if type(value) is list:
        return [on_tensors(function, each) for each in value]
    return value


def run_batch(model: Callable[..., object], batch: object, device: torch.device) -> object:
    """What a model returns for a batch.

    Raises:
        QuantizerError: The model does not take it, or ends the program.
    """
    args, kwargs = arguments_of(batch, device)
    try:
        with exits_told("The model's forward", QuantizerError):
            return model(*args, **kwargs)
    except TypeError as error:
        raise QuantizerError(
            f"The model does not take a batch for calibration: {first_line(error)}.",
            "A batch is what forward takes, as tensors: leave the labels out.",
        ) from error


def device_of(model: torch.nn.Module) -> torch.device:
    """The device of a model's parameters; the CPU where it has none."""
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
