"""What the words of this room share: the form of a table, and figures with their units."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Title, columns, and rows of cells.
Table = tuple[str, Sequence[str], list[list[str]]]


def decibels(value: float) -> str:
    """An SQNR: ``identical`` where nothing differs, ``no number`` where something is NaN.

    Args:
        value: In dB.
    """
    if math.isnan(value):
        return "no number"
    return "identical" if value == math.inf else f"{value:.1f} dB"
