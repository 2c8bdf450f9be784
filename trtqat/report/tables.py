"""What tables in words are made of."""

from __future__ import annotations

from collections.abc import Sequence

# Title, columns, and rows of cells.
Table = tuple[str, Sequence[str], list[list[str]]]
