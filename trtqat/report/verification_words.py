"""What a verification found, for people who have never seen a decibel of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtqat.report.wording import decibels

if TYPE_CHECKING:
    from trtqat.exporting.verification.result import Pieces, Verification

# A model that amplifies rounding is about as far from itself; chance is worth a factor of two.
_SIMILAR_DB = 6.0


def describe_agreement(agreement: Verification, reference: str = "the source") -> Iterator[str]:
    """The lines of a verification: piece by piece, end to end, output by output.

    Args:
        agreement: What was found.
        reference: What the graph was compared with.
    """
    pieces = agreement.pieces
    if pieces is not None:
        yield (
            "verified with ONNX Runtime: from the same quantized activations, "
            f"{_of_batches(pieces)}each of {pieces.count} activations and outputs is that of "
            f"{reference}, {_or_better(pieces.least_db)}{_but_for(pieces.flipped)}"
        )
        for left_out in pieces.undecided:
            yield (
                f"  {left_out.values} of {left_out.size} values of {left_out.where} were not "
                "compared: rounding chooses them, as one of two equal scores."
            )
    batches = ", ".join(map(str, agreement.batch_sizes[:3])) + _on_sizes(agreement)
    begins = "end to end" if pieces is not None else "verified with ONNX Runtime, end to end"
    if agreement.sqnr_db == math.inf:
        yield f"{begins}, at batch {batches}: all {agreement.values} values are equal"
    else:
        # The largest difference may be another output's.
        yield (
            f"{begins}, at batch {batches}: {decibels(agreement.sqnr_db)} SQNR "
            f"({agreement.worst_at}), worst difference {agreement.worst:.3g}"
        )
    if agreement.own_db is not None:
        yield f"  {_on_amplification(agreement.sqnr_db, agreement.own_db)}"
    if len(agreement.outputs) > 1:
        for each in agreement.outputs:
            yield f"  output '{each.name}' {each.shape}: {decibels(each.sqnr_db)}"


def _of_batches(pieces: Pieces) -> str:
    """Which were compared, which is not all of those end to end."""
    sizes = dict.fromkeys(pieces.batch_sizes)
    return f"at batch {', '.join(map(str, sizes))}, " if sizes else ""


def _but_for(flipped: int) -> str:
    if not flipped:
        return ""
    codes = "code, which is the neighbouring one"
    if flipped > 1:
        codes = "codes, which are the neighbouring ones"
    return f", but for {flipped} {codes}"


def _on_sizes(agreement: Verification) -> str:
    """At which sizes, where there were several; nothing where there was one."""
    sizes = [
        ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in size.items())
        for size in agreement.sizes
    ]
    return f" and {len(sizes)} sizes ({'; '.join(sizes)})" if sizes else ""


def _on_amplification(sqnr_db: float, own_db: float) -> str:
    moved = "a change in the last bits of its scales moves "
    moved += "nothing" if own_db == math.inf else f"it to {decibels(own_db)} from itself"
    if own_db <= sqnr_db + _SIMILAR_DB:
        return f"That is no fault: this model amplifies rounding, and {moved}."
    return f"Piece by piece it is right, but {moved}: compare its accuracy with trtqat eval."


def _or_better(least_db: float) -> str:
    return "bit for bit" if least_db == math.inf else f"at {least_db:.1f} dB or better"
