"""What the words of this room share: the form of a table, and figures with their units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trtqat.text import visible_line

if TYPE_CHECKING:
    from trtqat.evaluation.intervals import Ratio
    from trtqat.runtime.rtx import Compilation

# What rounding makes of percentages that are the same.
_DUST = 1e-9
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


def percent(part: float) -> str:
    """A share to two digits: ``0.012 %``, ``1.2 %``, ``12 %``; ``100 %`` is all of it.

    Args:
        part: From 0 to 1.
    """
    value = 100 * part
    if 99.5 <= value < 100:
        return f"{math.floor(10 * value) / 10:.1f} %"
    # Of 100, two digits would be "1e+02".
    return f"{value:.2g} %" if value < 10 else f"{value:.0f} %"


def share(hits: int | None, count: int) -> str:
    """How many of how many; empty where that is not known.

    Args:
        hits: Of them.
        count: All.
    """
    return "" if hits is None else f"{hundredths(100 * hits / count)} % ({hits}/{count})"


def hundredths(value: float, *, most: float = 100.0) -> str:
    """A figure to two decimals; what is something is not ``0.00``, nor in percent all ``100.00``.

    Args:
        value: In percent, or of another unit.
        most: What is all of it.
    """
    if most - 0.005 <= value < most - _DUST:
        return f"{most - 0.01:.2f}"
    if _DUST < abs(value) < 0.005:
        return f"{value:.2g}"
    # Not "-0.00", which an interval's end may be.
    return f"{round(value, 2) + 0.0:.2f}"


def signed(difference: float) -> str:
    """A difference to two decimals with its sign; what is none is not zero.

    Args:
        difference: Of two figures.
    """
    if abs(difference) < _DUST:
        return "0.00"
    return f"{difference:+.2f}" if abs(difference) >= 0.005 else f"{difference:+.1g}"


def ratio(found: Ratio) -> str:
    """How many times as fast, with its interval.

    Args:
        found: Of two models.
    """
    low, high = found.interval.low, found.interval.high
    return f"{found.value:.2f}x ({low:.2f} … {high:.2f})"


def compiled_in(found: Compilation | None) -> str:
    """How long kernels took to compile; empty where they did not.

    Args:
        found: Of one batch size.
    """
    if found is None:
        return ""
    return f"{found.seconds:.2f} s{', with a runtime cache' if found.from_cache else ''}"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first column to the left and the others to the right.

    Args:
        columns: Their names.
        rows: Cells of each, as many as there are columns.
    """
    cells = [[visible_line(cell).replace("|", "\\|") for cell in row] for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" | ".join(padded))
    first, *others = widths
    lines.insert(1, " | ".join(["-" * first, *("-" * (width - 1) + ":" for width in others)]))
    return "\n".join(f"| {line} |" for line in lines)
