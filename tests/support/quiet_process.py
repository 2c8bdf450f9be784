"""The time of a CUDA-graph replay in a process that does nothing else, without ``evaluation``."""

from __future__ import annotations

import statistics
from pathlib import Path

from trtqat.runtime.engine import Engine
from trtqat.tensors import random_arrays

REPLAYS = 500
TURNS = 3


def replay_ms(plan: Path, batch_size: int) -> float:
    """The best of several medians, each of many replays: clocks need a while to rise.

    It is to be called in a new process (``trtqat.apart``): whatever else a process has opened may
    slow it.
    """
    with Engine(plan) as engine, engine.session(batch_size) as session:
        session.load(random_arrays(session.input_specs, seed=0))
        session.compute_times_ms(REPLAYS)
        return min(statistics.median(session.compute_times_ms(REPLAYS)) for _ in range(TURNS))
