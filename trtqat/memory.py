"""Whether arrays fit into the host's memory, asked before they are allocated."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from trtqat.errors import UsageError

_GIB = 2**30


def check_fits(size_bytes: int, what: str) -> None:
    """Refuses what is larger than the memory that is free.

    Linux hands out more memory than there is and kills a process that uses it.

    Args:
        size_bytes: What is going to be allocated.
        what: That in words, the subject of the message.

    Raises:
        UsageError: It does not fit.
    """
    free = free_bytes()
    if size_bytes > free:
        raise UsageError(
            f"{what} take {size_bytes / _GIB:,.1f} GiB; {free / _GIB:,.1f} GiB of memory are free.",
            "Use a host with more memory, or a model with smaller inputs.",
        )


def free_bytes() -> float:
    """Memory that this process can still get; infinite where the host does not tell."""
    return min(_of_host(), _of_container(), _of_process())


def _of_host() -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return math.inf


def _of_container() -> float:
    """What a container may have at all (control groups, version 2)."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
    return math.inf


def _of_process() -> float:
    """What ``ulimit -v`` leaves."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            return max(0, limit - pages * resource.getpagesize())
    return math.inf
