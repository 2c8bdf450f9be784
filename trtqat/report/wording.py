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


def percent(share: float) -> str:
    """A share to two digits: ``0.012 %``, ``1.2 %``, ``12 %``, ``100 %``.

    Args:
        share: From 0 to 1.
    """
    value = 100 * share
    # Of 100, two digits would be "1e+02".
    return f"{value:.2g} %" if value < 10 else f"{value:.0f} %"
