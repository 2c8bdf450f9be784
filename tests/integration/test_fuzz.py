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


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files(name: str) -> None:
    faults = list(find_faults(name, 0, KINDS[name].count))
    listed = "\n".join(faults[:20])
    assert not faults, f"{len(faults)} of {KINDS[name].count}, each by its number:\n{listed}"


def find_faults(name: str, first: int, last: int) -> Iterator[str]:
    """Runs workers until all numbers were read: one that is killed is followed by another."""
    for _ in range(_MOST_CRASHES):
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.fuzzing.worker", name, str(first), str(last)],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        lines = done.stdout.splitlines()
        yield from (line.removeprefix("fault ") for line in lines if line.startswith("fault"))
        if lines and lines[-1] == "done":
            return
        begun = [int(line.split()[1]) for line in lines if line.startswith("begin")]
        assert begun, f"the worker does not start: {done.stderr[-2000:]}"
        yield f"{begun[-1]} ends the process with {done.returncode}"
        first = begun[-1] + 1
    yield f"{first} and above were not read after {_MOST_CRASHES} crashes"
