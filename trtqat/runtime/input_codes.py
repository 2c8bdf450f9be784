"""Inputs that arrive as INT8 codes: their scales, and the host's quantization.

A graph that ``trtqat export --quantized-input`` wrote says so in its metadata, and the manifest of
its engine says it again. A session takes floats, which it quantizes, or the codes themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from trtqat.numerics import quantize
from trtqat.provenance import QUANTIZED_INPUTS
from trtqat.tensors import Array, Arrays, TensorSpec


def input_scales(
    specs: Iterable[TensorSpec], provenance: str | Mapping[str, Any]
) -> dict[str, float]:
    """Scale by input of those that arrive as codes; empty where nothing sensible is said.

    Args:
        specs: The inputs as graph or engine has them.
        provenance: What the export recorded, as JSON or decoded.
    """
    codes = {spec.name for spec in specs if spec.dtype == "int8"}
    try:
        fields = json.loads(provenance) if isinstance(provenance, str) else provenance
        recorded = fields.get(QUANTIZED_INPUTS, {}).items()
        scales = {name: float(scale) for name, scale in recorded if name in codes}
        return {name: scale for name, scale in scales.items() if 0 < scale < math.inf}
    # Somebody else's metadata under our key, or a manifest that was edited.
    except (ValueError, TypeError, AttributeError):
        return {}


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
