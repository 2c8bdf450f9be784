"""What the export recorded about the quantizers of the PyTorch model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trtqat.graph import QUANTIZERS


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
