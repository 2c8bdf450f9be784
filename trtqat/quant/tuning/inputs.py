"""What fine-tuning is given: a model with quantizers, and batches as often as there are epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch import nn

from trtqat.errors import QuantizerError, UsageError, first_line
from trtqat.quant.feeding import Arguments
from trtqat.quant.int8_quantizer import Int8Quantizer, read
from trtqat.quant.state import Reader, UncalibratedError
from trtqat.quant.toolkits import torch_ao
from trtqat.quant.toolkits.quantizers import quantizers_of
from trtqat.quant.tuning.options import FineTuneOptions

Batches = Iterable[Any] | Callable[[int], Iterable[Any]]


def check_model(model: nn.Module, options: FineTuneOptions) -> None:
    """Refuses a model whose quantizers are not there, have no range, or should not be there.

    Raises:
        UsageError: It has none, or some where ``ranges`` is None.
        QuantizerError: One of ours has no range, or none of a toolkit that calibrates has one.
    """
    found = list(quantizers_of(model))
    if options.ranges is not None and not found:
        raise UsageError(
            f"{type(model).__name__} has no quantizers.",
            "Quantize it first: trtqat.quantize(model, batches).model; or give ranges=None to "
            "train a float model.",
        )
    if options.ranges is None and found:
        raise UsageError(
            f"{type(model).__name__} has quantizers, as '{found[0][0]}', but ranges=None is for "
            "float models.",
            'Give ranges="fixed" or ranges="learned".',
        )
    for name, module, _ in found:
        if isinstance(module, Int8Quantizer):
            read(name, module)
    # One that never runs may lack a range, and those of torch.ao get theirs in training.
    missing = [_missing_range(*each) for each in found if each[2] is not torch_ao]
    errors = [each for each in missing if each is not None]
    if errors and len(errors) == len(missing):
        raise errors[0]


def _missing_range(name: str, module: nn.Module, reader: Reader) -> UncalibratedError | None:
    try:
        reader.read(name, module)
    except UncalibratedError as error:
        return error
    except QuantizerError:
        pass
    return None


def check_repeatable(batches: Batches, epochs: int) -> None:
    """Refuses batches that are there for one epoch alone.

    Raises:
        UsageError: They are an iterator, or cannot be iterated at all.
    """
    if callable(batches):
        return
    if not isinstance(batches, Iterable):
        raise UsageError(
            f"The batches are a {type(batches).__name__}, which cannot be iterated.",
            "Give a DataLoader, a list, or a function of the epoch.",
        )
    if epochs > 1 and isinstance(batches, Iterator):
        raise UsageError(
            "The batches are an iterator, which is empty after the first epoch.",
            "Give a DataLoader, a list, or a function of the epoch that returns one.",
        )


def generator_of(batches: Batches) -> torch.Generator | None:
    """The generator of a DataLoader that draws the order from one of its own."""
    generator = getattr(batches, "generator", None)
    return generator if isinstance(generator, torch.Generator) else None


def length_of(batches: Iterable[Any]) -> int:
    """How many batches an epoch has, at least 1.

    Raises:
        UsageError: They do not tell.
    """
    try:
        return max(len(batches), 1) if isinstance(batches, Sized) else _unknown_length()
    except TypeError:  # of a DataLoader over what has no length
        return _unknown_length()


def _unknown_length() -> int:
    raise UsageError(
        "The batches of an epoch have no length, from which the learning rate is computed.",
        "Give steps= the number of batches in an epoch.",
    )


def pair_of(batch: object) -> tuple[object, object]:
    """Inputs and labels of a batch; None where it has no labels.

    Raises:
        UsageError: It is neither a pair nor inputs alone.
    """
    if isinstance(batch, (torch.Tensor, Mapping)):
        return batch, None
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    if isinstance(batch, (tuple, list)) and len(batch) == 1:
        return batch[0], None
    size = f" of {len(batch)}" if isinstance(batch, Sized) else ""
    raise UsageError(
        f"A batch is a {type(batch).__name__}{size}, not a pair (inputs, labels).",
        "Give ((first, second), labels) to a model of several inputs.",
    )


def moved(value: Any, device: torch.device) -> Any:  # noqa: ANN401
    """Labels with all their tensors on a device."""
    if isinstance(value, torch.Tensor):
        # No gradient goes through what inference mode made, but through a copy of it.
        return value.to(device, copy=value.is_inference())
    if isinstance(value, Mapping):
        return {name: moved(each, device) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [moved(each, device) for each in value]
    return value


def outputs_of(model: nn.Module, inputs: Arguments) -> object:
    """What a model returns for the inputs of a batch.

    Raises:
        UsageError: It does not take them.
    """
    args, kwargs = inputs
    try:
        return model(*args, **kwargs)
    except TypeError as error:
        raise UsageError(
            f"The model does not take the inputs of a batch: {first_line(error)}.",
            "A batch is a pair (inputs, labels); inputs is what forward takes.",
        ) from error
