"""A process in which one thing after the other is run, with the time of a replay behind each.

    python -m tests.support.quiet_process model.engine SOURCE BATCH

It must be a new one: whatever has run kernels on a second stream before, as a build may, makes
every launch slower for good. Prints a JSON object: the median time of a CUDA-graph replay in ms, by
what was run before it.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from trtqat.evaluation.running import open_sessions
from trtqat.evaluation.throughput import measure_throughput
from trtqat.evaluation.timing import LatencyOptions
from trtqat.exporting.loading import load_model
from trtqat.exporting.source import ModelSource
from trtqat.inspection.layer_times import measure_layers
from trtqat.runtime.engine import Engine
from trtqat.runtime.protocol import Model
from trtqat.runtime.pytorch import PyTorchModel, PyTorchPrecision
from trtqat.runtime.trtexec_loop import run_like_trtexec
from trtqat.tensors import Arrays, random_arrays

REPLAYS = 500
TURNS = 3
QUICK = LatencyOptions(50, 0.3)


def stages(engine: Engine, source: str, batch_size: int) -> dict[str, Callable[[], None]]:
    """What an evaluation does, in any order; streams of their own at last."""
    inputs = random_arrays([spec.with_batch(batch_size) for spec in engine.inputs], seed=0)

    def in_flight(model: Model, *, own_streams: bool = False) -> None:
        (sessions,) = open_sessions([model], batch_size, 4, own_streams=own_streams)
        measure_throughput([sessions], inputs, QUICK, own_streams=own_streams)
        for session in sessions:
            session.close()

    def plain() -> None:
        with engine.session(batch_size, cuda_graph=False) as session:
            session.run(inputs)
            session.load(inputs)
            session.compute_times_ms(20)
            session.transfer_times_ms(20)

    def profiler() -> None:
        with engine.session(batch_size, cuda_graph=False) as session:
            session.load(inputs)
            measure_layers(engine, session, passes=5)

    def trtexec(*, is_old: bool) -> None:
        run_like_trtexec(
            engine,
            batch_size,
            inputs,
            cuda_graph=not is_old,
            transfers=is_old,
            blocking=is_old,
            warm_up_ms=50,
            duration_s=0.3,
        )

    def pytorch(precision: PyTorchPrecision, *, cuda_graph: bool) -> None:
        with PyTorchModel(
            load_model(ModelSource(source), device="cuda"),
            engine.inputs,
            device="cuda",
            precision=precision,
            cuda_graph=cuda_graph,
        ) as model:
            with model.session(batch_size) as session:
                session.run(inputs)
                session.load(inputs)
                session.compute_times_ms(20)
                session.transfer_times_ms(20)
            in_flight(model)

    return {
        "nothing": lambda: None,
        "another session": plain,
        "queries in flight": lambda: in_flight(engine),
        "profiler": profiler,
        "trtexec's old mode": lambda: trtexec(is_old=True),
        "trtexec's new mode": lambda: trtexec(is_old=False),
        "PyTorch, CUDA graph": lambda: pytorch("fp32", cuda_graph=True),
        "PyTorch FP16, CUDA graph": lambda: pytorch("fp16", cuda_graph=True),
        "PyTorch, eager": lambda: pytorch("tf32", cuda_graph=False),
        "streams of their own": lambda: in_flight(engine, own_streams=True),
    }


def replay_ms(engine: Engine, batch_size: int, inputs: Arrays) -> float:
    """The best of several medians, each of many replays: clocks need a while to rise."""
    with engine.session(batch_size) as session:
        session.load(inputs)
        session.compute_times_ms(REPLAYS)
        return min(statistics.median(session.compute_times_ms(REPLAYS)) for _ in range(TURNS))


def main() -> None:
    """Runs all, and prints the times."""
    plan, source, batch_size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with contextlib.closing(Engine(plan)) as engine:
        inputs = random_arrays([spec.with_batch(batch_size) for spec in engine.inputs], seed=0)
        found = {}
        for name, stage in stages(engine, source, batch_size).items():
            stage()
            found[name] = replay_ms(engine, batch_size, inputs)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
