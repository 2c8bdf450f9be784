"""Puts planned quantizers into a model, and finds those that are there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from trtqat.errors import QuantizerError
from trtqat.quant.feeding import device_of
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.placing.children import Children
from trtqat.quant.placing.instrumented import instrument, is_instrumented, restore_class
from trtqat.quant.placing.interception import CHILD, Call, PlacedQuantizers, quantizers_in
from trtqat.quant.placing.placement import Place, PlannedQuantizer

# Files of PyTorch whose modules call nothing that can be quantized: their calls need no counting.
# A container calls what the hooks of its children do.
_CALLS_NOTHING = frozenset(
    f"torch.nn.modules.{name}"
    for name in (
        *("activation", "batchnorm", "channelshuffle", "distance", "dropout"),
        *("flatten", "fold", "instancenorm", "normalization", "padding", "pixelshuffle"),
        *("rnn", "sparse", "upsampling"),
    )
)


@dataclass(frozen=True)
class Placed:
    """A quantizer in a model.

    Attributes:
        name: Its dotted name; the first one, where it stands in several modules.
        module: The quantizer.
        places: All of them.
    """

    name: str
    module: Int8Quantizer
    places: tuple[Place, ...]


def put_quantizers(
    model: nn.Module,
    quantizers: Mapping[PlannedQuantizer, Int8Quantizer],
    counts: Mapping[str, Mapping[str, int]],
) -> None:
    """Puts quantizers at their places, in a model that has none of ours.

    Args:
        model: Changed in place; nothing but the children called ``int8`` is added to it.
        quantizers: By what was planned.
        counts: By the path of a module, how often its forward calls each function.

    Raises:
        QuantizerError: The model has quantizers of ours already, or lacks a module.
    """
    modules = dict(model.named_modules())
    if any(map(is_instrumented, modules.values())):
        raise QuantizerError(
            "The model has quantizers of trtqat already.",
            "Quantize the FP32 model, or go on with this one.",
        )
    for path in {place.path for planned in quantizers for place in planned.places}:
        if path not in modules:
            raise QuantizerError(
                f"The model has no module '{path}', where a quantizer belongs.",
                "Build the model that was quantized.",
            )
        if hasattr(modules[path], CHILD):
            raise QuantizerError(
                f"The module '{path or type(model).__name__}' has an attribute '{CHILD}' of its "
                "own, where its quantizers belong.",
                f"Rename the attribute, or keep the module in floating point: keep=['{path}'].",
            )
    for module in modules.values():
        if _may_call(module):
            instrument(module)
    device = device_of(model)
    for planned, quantizer in quantizers.items():
        quantizer.to(device)
        for place in planned.places:
            module = modules[place.path]
            child = quantizers_in(module)
            if child is None:
                child = PlacedQuantizers(counts.get(place.path, {}))
                module._modules = Children(module._modules)
                module.add_module(CHILD, child.train(module.training))
            child.place(place.call, place.operand, quantizer)


def _may_call(module: nn.Module) -> bool:
    """Whether a module's own calls are to be counted as its own.

    By its class alone: a module that does not run in evaluation runs in training, and a recipe
    knows of those with quantizers only. What is not counted here is counted in its parent.
    """
    is_attention = isinstance(module, nn.MultiheadAttention)
    return is_attention or type(module).__module__ not in _CALLS_NOTHING


def placed_quantizers(model: nn.Module) -> list[Placed]:
    """The quantizers of ours in a model, in module order."""
    places: dict[Int8Quantizer, list[tuple[Place, str]]] = {}
    for path, module in model.named_modules():
        child = quantizers_in(module)
        if child is None:
            continue
        for call, operands in child.calls.items():
            for operand, attribute in operands.items():
                name = ".".join(filter(None, (path, CHILD, attribute)))
                quantizer = getattr(child, attribute)
                places.setdefault(quantizer, []).append((Place(path, call, operand), name))
    # named_modules names what stands in several modules by the first of them.
    names = {module: name for name, module in model.named_modules()}
    return [
        Placed(names[quantizer], quantizer, tuple(place for place, _ in found))
        for quantizer, found in places.items()
    ]


def call_counts(model: nn.Module) -> dict[str, dict[str, int]]:
    """By the path of a module with quantizers, how often its forward calls each function."""
    return {
        path: dict(child.counts)
        for path, module in model.named_modules()
        if (child := quantizers_in(module)) is not None
    }


@contextmanager
def only_calls(model: nn.Module, quantized: Collection[tuple[str, Call | None]]) -> Iterator[None]:
    """Lets the quantizers of some calls quantize alone; all others let everything through.

    Args:
        model: With quantizers of ours.
        quantized: Path of a module, and a call in its forward; None is no call.
    """
    children = {
        path: child
        for path, module in model.named_modules()
        if (child := quantizers_in(module)) is not None
    }
    before = {path: child.calls for path, child in children.items()}
    try:
        for path, child in children.items():
            child.calls = {
                call: operands
                for call, operands in child.calls.items()
                if (path, call) in quantized
            }
        yield
    finally:
        for path, child in children.items():
            child.calls = before[path]


def run_without_quantizers(model: nn.Module, run: Callable[[], object]) -> None:
    """Runs a model once without its quantizers, if they are ours.

    A forward may make a grid in its first run of a size, and keep it. When its quantizers were
    placed it had one: they would stand at other calls, and what is kept would be quantized.

    Args:
        model: Any.
        run: Runs it, on inputs of the size that it will be given.

    Raises:
        Exception: What ``run`` raises.
    """
    if call_counts(model):
        with only_calls(model, ()):
            run()


def take_quantizers_off(model: nn.Module) -> None:
    """Makes a model what it was before ``put_quantizers``."""
    for module in list(model.modules()):
        if quantizers_in(module) is not None:
            del module._modules[CHILD]
            module._modules = dict(module._modules)
        if is_instrumented(module):
            restore_class(module)


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model, with quantizers or without.

    ``torch.nn.utils.weight_norm`` keeps the weight that it computed until it computes it again.
    Such tensors ``copy.deepcopy`` refuses while they have a gradient's history; the copy's have
    none.
    """
    computed = {
        id(each): each.detach().clone()
        for module in model.modules()
        for each in vars(module).values()
        if isinstance(each, torch.Tensor) and not each.is_leaf
    }
    return copy.deepcopy(model, computed)
