"""What an export records in the graph, and a build in the manifest: where a plan comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Under this key of an ONNX file's metadata the export records where the graph comes from.
METADATA_KEY = "trtqat"

# In that record: scale by name of the inputs that arrive as INT8 codes.
QUANTIZED_INPUTS = "quantized_inputs"

# In that record: dotted names of the PyTorch quantizers that have Q/DQ pairs in the graph.
QUANTIZERS = "quantizers"


def recorded_quantizers(provenance: str | Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted names of the quantizers that a graph's Q/DQ pairs were made of.

    Args:
        provenance: What the export recorded, as JSON or decoded.

    Returns:
        Names in the graph's order; none where nothing sensible is recorded.
    """
    try:
        fields = json.loads(provenance) if isinstance(provenance, str) else provenance
    except ValueError:
        return ()
    names = fields.get(QUANTIZERS) if isinstance(fields, Mapping) else None
    if not isinstance(names, (list, tuple)):
        return ()
    return tuple(name for name in names if isinstance(name, str))
