"""Proof that a graph computes what the fake-quantized model does, before it is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch

from trtqat.errors import ExportError
from trtqat.export.options import MIN_SQNR_DB, Verification
from trtqat.export.samples import Samples, observe, run_model
from trtqat.graph.serialized import Serialized, derived, parse
from trtqat.numerics import difference
from trtqat.quant.operator import FakeQuantize
from trtqat.runtime.onnx_reference import OnnxModel
from trtqat.tensors import Array

# A deep untrained network amplifies every flip. No translation can be closer to it than it
# is to itself under a change of its input in the last bits, less a factor of two.
_ROUNDING = 1e-6
_MARGIN_DB = 6.0
_LEAST_SQNR_DB = 10.0


@dataclass(frozen=True)
class Example:
    """One batch with what the fake-quantized model made of it, before it was traced."""

    inputs: Samples
    outputs: Mapping[str, Array]

    @property
    def batch_size(self) -> int:
        """Size of the first dimension."""
        return int(next(iter(self.inputs.values())).shape[0])


def verify(
    graph: Serialized,
    examples: Sequence[Example],
    model: torch.nn.Module,
    locate: Callable[[Example], str],
    *,
    min_sqnr_db: float = MIN_SQNR_DB,
) -> Verification:
    """Runs a graph on ONNX Runtime, as written, and compares every batch position.

    Args:
        graph: Serialized ONNX model.
        examples: Batches of different sizes with the outputs to expect.
        model: Where an output falls short, tells how close it is to itself under rounding.
        locate: Called where the comparison fails; says in a sentence where it went wrong.
        min_sqnr_db: Least SQNR of every output at every batch position, unless the model's
            own sensitivity to rounding is higher.

    Raises:
        ExportError: An output has another shape, or a batch position falls short; or the model
            returns NaN.
    """
    reference = OnnxModel(graph, as_written=True)
    worst_sqnr, worst, worst_at = math.inf, 0.0, "nowhere"
    for example in examples:
        least_db: dict[str, float] = {}
        session = reference.session(example.batch_size)
        actual = session.run({name: x.numpy() for name, x in example.inputs.items()})
        for name, expected in example.outputs.items():
            where = f"output '{name}', batch {example.batch_size}"
            if actual[name].shape != expected.shape:
                raise ExportError(
                    f"The graph returns {actual[name].shape} for {where}; the model returns "
                    f"{expected.shape}.",
                    "The model's shapes depend on the sample; try the other --exporter, or "
                    "--static-batch.",
                )
            if np.isnan(expected).any():
                raise ExportError(
                    f"The model itself returns NaN at {where}; a graph cannot be compared with it.",
                    "Look for a division by zero (torch.ao's fused convolutions divide by γ), or "
                    "a logarithm or root of the random samples.",
                )
            for position in _positions(expected):
                found = difference(expected[position], actual[name][position])
                if not found.sqnr_db >= min_sqnr_db and not least_db:
                    least_db = _least_sqnr_db(model, example, min_sqnr_db)
                required = least_db.get(name, min_sqnr_db)
                if not found.sqnr_db >= required:
                    at = f"{where}, position {position[0].start if position else 0}"
                    raise ExportError(
                        f"The graph differs from the fake-quantized model: {found.sqnr_db:.1f} dB "
                        f"SQNR at {at}, less than {required:.1f} dB.",
                        locate(example),
                    )
                worst_sqnr = min(worst_sqnr, found.sqnr_db)
                if found.worst > worst:
                    worst, worst_at = found.worst, f"{where}, index {found.worst_index}"
    reference.close()
    return Verification(tuple(e.batch_size for e in examples), worst_sqnr, worst, worst_at)


def _least_sqnr_db(
    model: torch.nn.Module, example: Example, min_sqnr_db: float
) -> dict[str, float]:
    """For each output, what can be asked of a translation of this model on this example."""
    generator = torch.Generator().manual_seed(0)
    nudged = {
        name: x * (1 + _ROUNDING * torch.randn(x.shape, generator=generator))
        if x.is_floating_point()
        else x
        for name, x in example.inputs.items()
    }
    outputs = run_model(model, nudged)
    least = {}
    for name, expected in example.outputs.items():
        itself = min(
            difference(expected[position], outputs[name][position]).sqnr_db
            for position in _positions(expected)
        )
        least[name] = max(_LEAST_SQNR_DB, min(min_sqnr_db, itself - _MARGIN_DB))
    return least


def locate_first_difference(
    graph: Serialized,
    model: torch.nn.Module,
    stand_ins: Mapping[str, FakeQuantize],
    dequantized: Mapping[str, str],
    example: Example,
) -> str:
    """Finds the first quantizer whose values differ between the model and the graph.

    Args:
        graph: Serialized ONNX model.
        model: The model with its stand-ins in place.
        stand_ins: Stand-in modules by quantizer.
        dequantized: Name of each quantizer's DequantizeLinear output.
        example: The batch that failed.

    Returns:
        One sentence for the user.
    """
    seen: dict[str, Array] = {}
    observe(
        model, stand_ins, example.inputs, lambda name, y: seen.setdefault(name, y.detach().numpy())
    )
    tapped = parse(graph)
    present = {output.name for output in tapped.graph.output}
    # Weights are left out: folding rescales them. Repairs may have taken a pair away.
    codes = {initializer.name for initializer in tapped.graph.initializer}
    computed = {
        output
        for node in tapped.graph.node
        for output in node.output
        if not (node.op_type == "DequantizeLinear" and node.input[0] in codes)
    }
    # Dictionaries keep the order of execution: the first that differs is the first in line.
    tensors = {name: dequantized[name] for name in seen if dequantized.get(name) in computed}
    for tensor in tensors.values():
        if tensor not in present:
            tapped.graph.output.append(
                onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
            )
    session = OnnxModel(derived(graph, tapped), as_written=True).session(1)
    actual = session.run({name: x.numpy() for name, x in example.inputs.items()})
    for name, tensor in tensors.items():
        found = difference(seen[name], actual[tensor])
        if not found.sqnr_db >= MIN_SQNR_DB:
            return (
                f"The first quantizer that differs is '{name}' ({found.sqnr_db:.1f} dB): look at "
                "the layers between it and the quantizer before."
            )
    return "Every quantizer agrees: look at the layers behind the last one."


def _positions(array: Array) -> list[tuple[slice, ...]]:
    if array.ndim == 0:
        return [()]
    return [(slice(index, index + 1),) for index in np.arange(array.shape[0])]
