"""Repairs of Q/DQ placement that change no output bit; one pass per file.

What would change a trained number (equalising the scales at a Concat, dropping a pair that
rounds) is never done here: the lint says it, and the model's author decides.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Repair:
    """One change that a repair made.

    Attributes:
        name: Of the pass, as ``"share-pairs"``.
        where: The tensor or pair it was made at.
        what: What was done, as a sentence.
    """

    name: str
    where: str
    what: str


@dataclass(frozen=True)
class Repairs:
    """What a repair did.

    Attributes:
        made: Its changes, in the graph's order.
    """

    made: tuple[Repair, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each."""
        return tuple(repair.what for repair in self.made)
