"""Python's collection of cycles, paused where very many objects are made that all stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Pauses it; a decorator as well.

    A graph of 10,000 nodes has a million objects that refer to each other. The collector looks at
    all of them again and again while they are made, for half of the time that reading takes, and
    finds nothing to free.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
