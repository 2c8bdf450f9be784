"""Inputs that arrive as INT8 codes: their scales, and the host's quantization.

A graph that ``trtqat export --quantized-input`` wrote says so in its metadata, and the manifest of
its engine says it again. A session takes floats, which it quantizes, or the codes themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from trtqat.numerics import quantize
from trtqat.provenance import Provenance
from trtqat.tensors import Array, Arrays, TensorSpec


def input_scales(specs: Iterable[TensorSpec], provenance: Provenance) -> dict[str, float]:
    """Scale by input of those that arrive as codes; empty where nothing sensible is said.

    Args:
        specs: The inputs as graph or engine has them.
        provenance: What the export recorded.
    """
    codes = {spec.name for spec in specs if spec.dtype == "int8"}
    recorded = provenance.quantized_inputs or {}
    # Somebody may have edited it.
    return {name: s for name, s in recorded.items() if name in codes and 0 < s < math.inf}


def with_float_inputs(
    specs: Iterable[TensorSpec], scales: Mapping[str, float]
) -> Iterator[TensorSpec]:
    """The inputs as a caller sees them: float32 where the session quantizes."""
    for spec in specs:
        yield replace(spec, dtype="float32") if spec.name in scales else spec


def quantize_inputs(inputs: Arrays, scales: Mapping[str, float]) -> dict[str, Array]:
    """Quantizes the floats among the inputs that arrive as codes; codes stay as they are."""
    return {
        name: quantize(array, scales[name])
        if name in scales and np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in inputs.items()
    }
