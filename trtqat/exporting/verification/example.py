"""One batch, and what a graph is to make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trtqat.tensors import Array, Arrays


@dataclass(frozen=True, eq=False)
class Passed:
    """What went through one quantizer in the run that a graph is compared with.

    Attributes:
        pair: Name of the graph's QuantizeLinear, which has another one where a repair moved it.
        source: The floats that it quantized; None where the graph has no such tensor.
        dequantized: What it made of them, of the same shape.
    """

    pair: str
    source: Array | None
    dequantized: Array


@dataclass(frozen=True, eq=False)
class Example:
    """One batch, and what the graph is to make of it.

    Attributes:
        inputs: Arrays of shape ``(N, …)`` by name.
        outputs: Arrays by name.
        passed: What went through the quantizers in that very run, by the name of the tensor that
            the graph's DequantizeLinear writes.
    """

    inputs: Arrays
    outputs: Arrays
    passed: Mapping[str, Passed] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """Size of the first dimension of the first input that has one."""
        return next((len(array) for array in self.inputs.values() if array.ndim), 1)
