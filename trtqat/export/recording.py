"""What goes into a model's quantizers and comes out of them while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.utils.hooks import RemovableHandle

from trtqat.errors import ExportError
from trtqat.graph.expand_fake_quantize import ExpandedPairs
from trtqat.quant.quantizers import Quantizer
from trtqat.runtime.onnx_example import Passed
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
def recorded_calls(model: torch.nn.Module, names: Mapping[str, object]) -> Iterator[Calls]:
    """Keeps what passes quantizers of activations while the model runs.

    Args:
        model: With its toolkit's quantizers, or with stand-ins for them.
        names: Dotted names of the quantizers.

    Yields:
        The calls of each, in the order of execution; filled while the model runs. What quantizes
        a parameter is left out.
    """
    calls: Calls = {}
    modules = dict(model.named_modules(remove_duplicate=False))
    watched: dict[torch.nn.Module, str] = {}
    for name in names:
        watched.setdefault(modules[name], name)
    sources: dict[torch.nn.Module, list[Array]] = {}

    def before(module: torch.nn.Module, inputs: tuple[object, ...]) -> None:
        given = inputs[0] if inputs else None
        # A copy: what works in place may change either tensor later.
        if isinstance(given, torch.Tensor) and not isinstance(given, torch.nn.Parameter):
            sources.setdefault(module, []).append(given.detach().cpu().clone().numpy())

    def after(module: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
        is_recorded = bool(inputs) and not isinstance(inputs[0], torch.nn.Parameter)
        if is_recorded and isinstance(output, torch.Tensor) and sources.get(module):
            kept = output.detach().cpu().clone().numpy()
            calls.setdefault(watched[module], []).append(Call(sources[module].pop(), kept))

    handles = [
        handle
        for module in watched
        for handle in (
            module.register_forward_pre_hook(before),
            module.register_forward_hook(after),
        )
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def checked_quantizers(
    model: torch.nn.Module, quantizers: Mapping[str, Quantizer | None]
) -> Iterator[None]:
    """Compares every call of a toolkit's quantizers with the pair that will stand for it.

    What was read of a quantizer (its scale, axis, range) is right only if both make the same codes
    of the same floats, weights included.

    Args:
        model: With its toolkit's quantizers; it runs meanwhile.
        quantizers: As ``read_quantizers`` returned them.

    Raises:
        ExportError: A quantizer made something else. Codes at a rounding border may be the
            neighbouring ones: toolkits multiply by 1 / scale.
    """
    modules = dict(model.named_modules(remove_duplicate=False))

    def check(name: str, quantizer: Quantizer) -> RemovableHandle:
        stand_in = quantizer.stand_in()

        def compare(module: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
            given = inputs[0] if inputs else None
            if isinstance(given, torch.Tensor) and isinstance(output, torch.Tensor):
                _compare_codes(quantizer, stand_in(given), output)

        handle: RemovableHandle = modules[name].register_forward_hook(compare)
        return handle

    handles = [check(name, each) for name, each in quantizers.items() if each is not None]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _compare_codes(quantizer: Quantizer, expected: torch.Tensor, actual: torch.Tensor) -> None:
    shape = [1] * expected.dim()
    if quantizer.axis is not None:
        shape[quantizer.axis] = -1
    codes = ((actual - expected) / quantizer.scale.reshape(shape)).abs()
    # A bound of a range that is no whole code is met by the same float, in both.
    wrong = int((codes > 1 + _CODES).sum())
    flipped = int((codes > _CODES).sum()) - wrong
    if wrong or flipped > max(_FEW, _SHARE * codes.numel()):
        raise ExportError(
            f"Quantizer '{quantizer.name}' makes other codes than its scale says: "
            f"{wrong + flipped} of {codes.numel()} values differ.",
            "Calibrate it again; if that does not help, this toolkit's quantizer is read wrongly: "
            "report it.",
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
            passed[pair.dequantized] = Passed(None if is_other else call.source, call.dequantized)
    return passed


def input_amaxes(
    inputs: Mapping[str, Array], calls: Calls, quantizers: Mapping[str, Quantizer | None]
) -> dict[str, float]:
    """The range of each input that a quantizer reads as it is.

    Args:
        inputs: Of a run, by name.
        calls: Of the quantizers, in that run.
        quantizers: As ``read_quantizers`` returns them.

    Returns:
        The greatest magnitude that the input's quantizer can write, by the input's name.
    """
    found: dict[str, float] = {}
    for quantizer_name, own in calls.items():
        quantizer = quantizers.get(quantizer_name)
        if quantizer is None or quantizer.axis is not None:
            continue
        largest = float(quantizer.scale.detach().max()) * max(-quantizer.low, quantizer.high)
        for name, array in inputs.items():
            # Reshaped, but the same values in the same order.
            if any(
                call.source.size == array.size
                and (call.source.reshape(-1) == array.reshape(-1)).all()
                for call in own
            ):
                found[name] = max(found.get(name, 0.0), largest)
    return found
