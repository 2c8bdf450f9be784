"""What goes into a model's quantizers and comes out of them while it runs."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from trtqat.errors import ExportError, ForwardError, QuantizerError
from trtqat.exporting.samples import Samples, run_model
from trtqat.exporting.verification.example import Passed
from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs
from trtqat.quant.fake_quantize import CODE_MAX
from trtqat.quant.kept_state import same_numbers
from trtqat.quant.toolkits.quantizers import AMAX_FLOOR, Quantizer
from trtqat.runtime.pytorch_hooks import Forward, wrapped_forwards
from trtqat.tensors import Array


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a quantizer.

    Attributes:
        source: The floats that it was given.
        dequantized: What it returned, of the same shape.
    """

    source: Array
    dequantized: Array


# Toolkits round scale and quotient: so much of a code, so many codes at a border.
_CODES = 2e-3
_FEW = 2
_SHARE = 0.01

Calls = dict[str, list[Call]]


@contextmanager
def recorded_calls(model: torch.nn.Module, names: Iterable[str]) -> Iterator[Calls]:
    """Keeps what passes quantizers of activations while the model runs.

    Args:
        model: With its toolkit's quantizers, or with stand-ins for them.
        names: Dotted names of the quantizers.

    Yields:
        The calls of each, in the order of execution; filled while the model runs. What quantizes
        a parameter is left out.
    """
    calls: Calls = {}

    def recording(name: str, forward: Forward) -> Forward:
        @functools.wraps(forward)
        def run(x: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
            if isinstance(x, torch.nn.Parameter) or not isinstance(x, torch.Tensor):
                return forward(x, *others, **options)
            # Copies: what works in place may change either tensor later.
            source = x.detach().cpu().clone().numpy()
            output = forward(x, *others, **options)
            made = output.detach().cpu().clone().numpy()
            calls.setdefault(name, []).append(Call(source, made))
            return output

        return run

    with wrapped_forwards({name: model.get_submodule(name) for name in names}, recording):
        yield calls


@contextmanager
def checked_quantizers(
    model: torch.nn.Module, quantizers: Mapping[str, Quantizer | None]
) -> Iterator[None]:
    """Compares every call of a toolkit's quantizers with the pair that will stand for it.

    A parameter is the same in each call, and compared in the first.

    What was read of a quantizer (its scale, axis, range) is right only if both make the same codes
    of the same floats, weights included.

    Args:
        model: With its toolkit's quantizers; it runs meanwhile.
        quantizers: As ``read_quantizers`` returned them.

    Raises:
        ExportError: A quantizer read other floats than float32, or made something else. Codes at
            a rounding border may be the neighbouring ones: toolkits multiply by 1 / scale.
        QuantizerError: One does more than its forward.
    """
    active = {name: each for name, each in quantizers.items() if each is not None}
    stand_ins = {name: each.stand_in() for name, each in active.items()}
    # With the parameters themselves, so that no other object takes the identity of one.
    compared: dict[tuple[str, int, int], torch.Tensor] = {}

    def checking(name: str, forward: Forward) -> Forward:
        @functools.wraps(forward)
        def run(x: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
            if isinstance(x, torch.nn.Parameter) and not x.is_inference():
                call = (name, id(x), x._version)
                if call in compared:
                    return forward(x, *others, **options)
                compared[call] = x
            _check_type(name, x)
            expected = stand_ins[name](x)
            output = forward(x, *others, **options)
            _compare_codes(active[name], x, expected, output)
            return output

        return run

    with (
        _checked_hooks({name: model.get_submodule(name) for name in quantizers}),
        wrapped_forwards({name: model.get_submodule(name) for name in active}, checking),
    ):
        yield


@contextmanager
def _checked_hooks(quantizers: Mapping[str, torch.nn.Module]) -> Iterator[None]:
    """Refuses quantizers that are more than their forward: what stands in for one has no hooks."""
    with contextlib.ExitStack() as stack:
        for name, module in quantizers.items():
            if type(module).__call__ is not torch.nn.Module.__call__:
                raise _surrounded(name, "a class with a __call__ of its own")
            if module._forward_pre_hooks or module._forward_hooks:
                for handle in _check_hooks(name, module, module.forward):
                    stack.callback(handle.remove)
        yield


def _check_hooks(name: str, module: torch.nn.Module, forward: Forward) -> Iterator[RemovableHandle]:
    expected: list[torch.Tensor] = []

    def before(_: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        # A copy, as hooks may write into either tensor.
        expected.append(forward(*args, **options).clone())

    def after(_: torch.nn.Module, __: tuple[Any, ...], output: torch.Tensor) -> None:
        if not same_numbers(expected.pop(), output):
            raise _surrounded(name, "a hook that changes what it reads or returns")

    yield module.register_forward_pre_hook(before, prepend=True, with_kwargs=True)
    yield module.register_forward_hook(after)


def _surrounded(name: str, what: str) -> QuantizerError:
    return QuantizerError(
        f"Quantizer '{name}' has {what}, but its Q/DQ pair stands for its forward alone.",
        "Do that in the forward of its layer.",
    )


def is_read(model: torch.nn.Module, names: Iterable[str], samples: Samples) -> bool:
    """Whether an output depends on what some quantizers return.

    NaN in its place would reach every output that does.

    Args:
        model: In eval mode, with its toolkit's quantizers, or with stand-ins for them.
        names: Dotted names of the quantizers.
        samples: Inputs of the model.
    """

    def spoiling(_: str, forward: Forward) -> Forward:
        @functools.wraps(forward)
        def run(*args: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
            return torch.full_like(forward(*args, **options), math.nan)

        return run

    expected = run_model(model, samples)
    try:
        with wrapped_forwards({name: model.get_submodule(name) for name in names}, spoiling):
            found = run_model(model, samples)
    except ForwardError:
        return True
    return found.keys() != expected.keys() or any(
        not np.array_equal(found[name], array, equal_nan=True) for name, array in expected.items()
    )


def _check_type(name: str, x: torch.Tensor) -> None:
    if x.dtype != torch.float32:
        raise ExportError(
            f"Quantizer '{name}' reads {str(x.dtype).removeprefix('torch.')} in forward; the graph "
            "is written in float32, and would have other codes.",
            "Leave torch.autocast and other casts out of forward, and calibrate again.",
        )


def _compare_codes(
    quantizer: Quantizer, source: torch.Tensor, expected: torch.Tensor, actual: torch.Tensor
) -> None:
    shape = [1] * expected.dim()
    if quantizer.axis is not None:
        shape[quantizer.axis] = -1
    step = quantizer.scale.reshape(shape)
    codes = ((actual - expected) / step).abs_()
    # Nearly always; NaN is not below anything.
    if not codes.numel() or bool(codes.max() <= _CODES):
        return
    # A bound of a range that is no whole code is met by the same float, in both.
    wrong = codes > 1 + _CODES
    position = (source if quantizer.multiplier is None else source * quantizer.multiplier) / step
    is_tie = (position - position.floor() - 0.5).abs_() < _CODES
    # Bytes of images may all lie on ties.
    flipped = (codes > _CODES) & ~wrong & ~is_tie
    if wrong.any() or int(flipped.sum()) > max(_FEW, _SHARE * codes.numel()):
        raise _other_codes(quantizer, wrong | flipped, step)


def _other_codes(quantizer: Quantizer, differing: torch.Tensor, step: torch.Tensor) -> ExportError:
    is_zero = step <= AMAX_FLOOR / CODE_MAX
    if not (differing & ~is_zero).any():
        channels = (
            f" in {int(is_zero.sum())} of {step.numel()} channels" if step.numel() > 1 else ""
        )
        return ExportError(
            f"Quantizer '{quantizer.name}' has an amax of 0{channels}, but reads other numbers "
            "there: it makes zeros of them, which a Q/DQ pair does not.",
            "Calibrate it again with the weights as they are now, on data that reaches it; or set "
            "to 0 what was to be 0.",
        )
    return ExportError(
        f"Quantizer '{quantizer.name}' makes other codes than its scale says: "
        f"{int(differing.sum())} of {differing.numel()} values differ.",
        "Calibrate it again, and do around it what a class of your own adds to it; if that does "
        "not help, this toolkit's quantizer is read wrongly: report it.",
    )


def passed_at(
    pairs: ExpandedPairs, calls: Calls, quantizers: Mapping[str, Quantizer | None]
) -> dict[str, Passed]:
    """What passed each pair of a graph, by the tensor that its DequantizeLinear writes.

    Args:
        pairs: Those that were made for the quantizers.
        calls: Of the quantizers, in a run.
        quantizers: As ``read_quantizers`` returns them.

    Returns:
        Quantizers whose calls an exporter merged, as equal ones, are left out: which call is
        which pair is not known.
    """
    passed: dict[str, Passed] = {}
    for name, made in pairs.pairs.items():
        own, quantizer = calls.get(name, []), quantizers.get(name)
        if len(own) != len(made):
            continue
        for pair, call in zip(made, own, strict=True):
            # The graph's QuantizeLinear reads what was multiplied or clipped.
            is_other = pair.is_clipped or (
                quantizer is not None and quantizer.multiplier is not None
            )
            source = None if is_other else call.source
            passed[pair.dequantized] = Passed(pair.quantize, source, call.dequantized)
    return passed


@contextmanager
def input_amaxes(
    model: torch.nn.Module, quantizers: Mapping[str, Quantizer | None], inputs: Mapping[str, Array]
) -> Iterator[dict[str, float]]:
    """Finds the range of each input that a quantizer reads as it is.

    Args:
        model: With its toolkit's quantizers.
        quantizers: As ``read_quantizers`` returns them.
        inputs: That the model is run on meanwhile, by name.

    Yields:
        The greatest magnitude that the input's quantizer can write, by the input's name; filled
        while the model runs.
    """
    found: dict[str, float] = {}
    ranges = {
        name: float(each.scale.detach().max()) * max(-each.low, each.high)
        for name, each in quantizers.items()
        if each is not None and each.axis is None
    }

    def comparing(quantizer: str, forward: Forward) -> Forward:
        @functools.wraps(forward)
        def run(x: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
            for name, array in inputs.items():
                if _holds(x, array):
                    found[name] = max(found.get(name, 0.0), ranges[quantizer])
            return forward(x, *others, **options)

        return run

    with wrapped_forwards({name: model.get_submodule(name) for name in ranges}, comparing):
        yield found


def _holds(x: object, array: Array) -> bool:
    """Whether a tensor has the values of an array in the same order, whatever its shape."""
    if not isinstance(x, torch.Tensor) or isinstance(x, torch.nn.Parameter):
        return False
    if x.numel() != array.size:
        return False
    return bool((x.detach().cpu().numpy().reshape(-1) == array.reshape(-1)).all())
