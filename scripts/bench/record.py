"""What every file of figures begins with: what was run, of which commit, when, on what host."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

from scripts.summarize import current_commit, today


def describe_run(name: str) -> dict[str, Any]:
    """The beginning of a record.

    Args:
        name: Of the benchmark, a module of this package.
    """
    return {
        "command": shlex.join(["python", "-m", f"scripts.bench.{name}", *sys.argv[1:]]),
        "commit": current_commit(),
        "date": today(),
        "cpus": os.cpu_count(),
    }
