"""What a verification found: how close a graph is to what it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Undecided:
    """Values that rounding chooses, as which of two equal scores is taken first.

    Attributes:
        where: The quantizer or output.
        values: How many of them; they were not compared.
        size: How many values it has.
    """

    where: str
    values: int
    size: int


@dataclass(frozen=True)
class Pieces:
    """What was compared from the same inputs.

    Attributes:
        count: Number of INT8 activations and outputs that were compared.
        least_db: The least SQNR of their floats, and of what pairs make but for ``flipped``.
        least_at: Where that is.
        undecided: What was left out of that.
        flipped: How many INT8 codes are the neighbouring ones.
        batch_sizes: The batches of which it was compared.
    """

    count: int
    least_db: float
    least_at: str
    undecided: tuple[Undecided, ...] = ()
    flipped: int = 0
    batch_sizes: tuple[int, ...] = ()


def worst_of(batches: Sequence[Pieces]) -> Pieces | None:
    """The batch that is furthest off, with what was left out in any of them; None of none."""
    if not batches:
        return None
    most: dict[str, Undecided] = {}
    for each in (each for pieces in batches for each in pieces.undecided):
        if each.where not in most or each.values > most[each.where].values:
            most[each.where] = each
    worst = min(batches, key=lambda pieces: pieces.least_db)
    count = min(pieces.count for pieces in batches)
    return replace(
        worst,
        count=count,
        undecided=tuple(most.values()),
        flipped=sum(pieces.flipped for pieces in batches),
        batch_sizes=tuple(size for pieces in batches for size in pieces.batch_sizes),
    )


@dataclass(frozen=True)
class VerifiedOutput:
    """How close one output was.

    Attributes:
        name: Of the output.
        shape: At the first batch.
        sqnr_db: The worst of all batches and batch positions; infinite if every value was equal.
        worst: Largest absolute difference.
    """

    name: str
    shape: tuple[int, ...]
    sqnr_db: float
    worst: float


@dataclass(frozen=True)
class Verification:
    """How close a graph's outputs were to the reference's.

    Attributes:
        batch_sizes: The batches that were run.
        sqnr_db: End to end: the worst over all outputs, batches and batch positions, in dB.
        worst_at: Output, batch and position of that, in words.
        worst: Largest absolute difference of a value.
        outputs: Each output.
        values: How many values were compared.
        pieces: What was compared from the same INT8 activations; None if that was not possible.
        own_db: Where ``sqnr_db`` is low: how far the graph moves by itself when each quantizer's
            scale changes in its last bits, end to end.
        sizes: Shape of one sample by input, of each size that was run, where there were several.
    """

    batch_sizes: tuple[int, ...]
    sqnr_db: float
    worst_at: str
    worst: float
    outputs: tuple[VerifiedOutput, ...]
    values: int
    pieces: Pieces | None = None
    own_db: float | None = None
    sizes: tuple[Mapping[str, tuple[int, ...]], ...] = ()

    @property
    def per_output(self) -> dict[str, float]:
        """The worst SQNR of each output, in dB."""
        return {each.name: each.sqnr_db for each in self.outputs}
