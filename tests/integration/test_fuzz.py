"""Damaged files of every kind that a user may give: each is read, or refused in a sentence.

A failure names its number. One file again, with what is wrong with it:

    python -m tests.support.fuzzing.worker "residual graph" 17 18
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fuzzing.kinds import KINDS

# As many crashes say all that there is to say.
_MOST_CRASHES = 5

# Those of a row are read by one process: most of the time went into imports.
_ROWS = {
    "graphs": ("residual graph", "graph of products", "graph with two sides", "npz"),
    "checkpoint": ("checkpoint",),
    "others": (
        "manifest",
        "manifest of an RTX plan",
        "plan",
        "RTX plan",
        "report",
        "layers",
        "profile",
        "key",
    ),
}


@pytest.mark.parametrize("row", _ROWS)
def test_damaged_files(row: str) -> None:
    faults = list(find_faults([(name, 0, KINDS[name].count) for name in _ROWS[row]]))
    listed = "\n".join(faults[:20])
    assert not faults, f"{len(faults)} faults, each by its kind and number:\n{listed}"


def test_no_kind_is_left_out() -> None:
    assert sorted(name for row in _ROWS.values() for name in row) == sorted(KINDS)


def find_faults(waiting: list[tuple[str, int, int]]) -> Iterator[str]:
    """Runs workers until all numbers were read: one that is killed is followed by another."""
    for _ in range(_MOST_CRASHES):
        arguments = [str(each) for kind in waiting for each in kind]
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.fuzzing.worker", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        begun = None
        for line in done.stdout.splitlines():
            if line == "done":
                waiting, begun = waiting[1:], None
            elif line.startswith("begin"):
                begun = int(line.split()[1])
            else:
                yield f"{waiting[0][0]}: {line.removeprefix('fault ')}"
        if not waiting and not done.returncode:
            return
        assert begun is not None, f"the worker does not start: {done.stderr[-2000:]}"
        name, _, last = waiting[0]
        yield f"{name}: {begun} ends the process with {done.returncode}"
        waiting[0] = (name, begun + 1, last)
    yield f"{waiting} were not read after {_MOST_CRASHES} crashes"
