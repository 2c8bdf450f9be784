"""What ``trtqat tune`` found, in lines and a table."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING

from trtqat.report.wording import Table, ratio

if TYPE_CHECKING:
    from trtqat.search.speed.tuning import TunedEngine, TuneResult

# Names of regions on a line.
_NAMED = 6


def verdict_table(result: TuneResult) -> Table:
    """The two ends and the tuned engine, with how many times the tuned one is as fast.

    Args:
        result: What was found.
    """
    title = f"GPU compute time at batch {result.batch}"
    columns = ["engine", "ms", "tuned is faster by", "regions in floating point"]
    # All of them were counted, or none.
    is_counted = any(each.counted for each in result.verdict)
    if is_counted:
        columns.append("top-1")
    rows = [
        [
            each.name,
            f"{each.time_ms:.3f}",
            "" if each.speed_up is None else ratio(each.speed_up),
            f"{len(each.floats)} of {len(result.regions)}",
            *([] if each.counted is None else [f"{each.counted.percent:.2f} %"]),
        ]
        for each in result.verdict
    ]
    return title, columns, rows


def closing_lines(result: TuneResult) -> Iterator[str]:
    """What was written, and what it is.

    Args:
        result: What was found.
    """
    tuned = result.verdict[-1]
    yield f"{result.output}: {_as_one(tuned, result)}"
    if not result.is_complete:
        yield (
            "The budget ended the search: a longer one (--budget) may find a faster engine. "
            f"{result.builds} engines were built in {result.seconds:.0f} s."
        )
    else:
        yield f"{result.builds} engines were built in {result.seconds:.0f} s."
    yield f"next: trtqat build {quote(str(result.output))} --batch {result.batch}"


def _as_one(tuned: TunedEngine, result: TuneResult) -> str:
    drop = result.max_drop_points
    fastest = "the fastest" if drop is None else f"the fastest within {drop:g} points of FP16"
    if not tuned.floats:
        return f"INT8 as exported is {fastest}, so the graph is what it was"
    if len(tuned.floats) == len(result.regions):
        return f"floating point throughout is {fastest}, so no pair is left"
    named = ", ".join(tuned.floats[:_NAMED])
    more = len(tuned.floats) - _NAMED
    return f"in floating point are {named}" + (f" and {more} more" if more > 0 else "")
