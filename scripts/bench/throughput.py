r"""How far ``eval``'s figures can be trusted, and what keeping several queries in flight gains.

1. GPU compute time in a process that runs nothing else; with ``--trtexec PATH`` beside NVIDIA's
   trtexec on the same plan, in turns.
2. GPU compute time against an independent timing: the same engine captured and replayed by
   PyTorch, timed by its events, in turns.
3. The same measurement several times over: how far the medians are apart.
4. Images a second from host arrays: Polygraphy's runner, one query at a time, several in flight.
   An engine that takes INT8 codes is given codes, and then floats, which the host quantizes.

PyTorch's timing, Polygraphy, the repeats and each number of queries in flight have a process each:
what one has made may slow the launches of the next. Needs a GPU, TensorRT, PyTorch and Polygraphy;
writes one JSON file. Give the engine that takes floats and the one that takes codes, for both to
stand beside Polygraphy from floats:

    python -m scripts.bench.throughput runs/bench/resnet50.engine runs/bench/resnet50-codes.engine \
        --output scripts/results/throughput-resnet50.json
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from scripts.bench.in_flight import in_flight, throughput
from scripts.bench.quiet import (
    exit_code_of,
    in_own_process,
    quiet_compute_medians_ms,
    random_inputs,
)
from scripts.bench.record import describe_run
from scripts.bench.throughput_table import lines_of, table_of
from scripts.bench.trtexec import Query, TrtexecError, beside_trtexec
from trtqat.evaluation.latency import measure_latency
from trtqat.evaluation.timing import LatencyOptions
from trtqat.files import check_writable, write_atomically
from trtqat.host.environment import describe_environment
from trtqat.host.telemetry import watch_gpu
from trtqat.runtime import host_quantizer
from trtqat.runtime.engine import Engine
from trtqat.tensors import DYNAMIC, Arrays

REPLAYS = 500
TURNS = 5


def main(given: Sequence[str] | None = None) -> int:
    """Measures, writes the file after each engine, and prints a table.

    Args:
        given: The command line; None takes the process's own.

    Returns:
        0, or the exit code of what went wrong; what was measured before it is written.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engines", type=Path, nargs="+")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--trtexec", type=Path, metavar="PATH", help="NVIDIA's, to stand beside")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(given)
    names = ", ".join(map(str, arguments.engines))
    return exit_code_of(partial(_measure_and_show, arguments), names)


def _measure_and_show(arguments: argparse.Namespace) -> None:
    check_writable(arguments.output)
    size, seconds = arguments.batch_size, arguments.seconds
    record: dict[str, Any] = {
        **describe_run("throughput"),
        "environment": asdict(in_own_process(describe_environment, with_gpu=True)),
        "batch_size": size,
    }
    results: dict[str, dict[str, Any]] = {}
    for plan in arguments.engines:
        result = {
            "quiet": quiet(plan, size, seconds),
            "independent": in_own_process(independent, plan, size),
            "polygraphy": in_own_process(polygraphy, plan, size, seconds),
            **ours(plan, size, seconds),
        }
        if arguments.trtexec is not None:
            busy_ms = statistics.median(result["repeated"]["medians_ms"])
            try:
                result["trtexec"] = with_trtexec(arguments.trtexec, plan, size, seconds, busy_ms)
            except TrtexecError as error:
                print(f"{error} The comparison is left out.", file=sys.stderr)
        results[plan.stem] = result
        text = json.dumps({**record, **results}, indent=1) + "\n"
        write_atomically(arguments.output, text.encode())
        print(lines_of(plan.stem, result), flush=True)
    print(table_of(results))


def quiet(plan: Path, batch_size: int, seconds: float) -> dict[str, Any]:
    """GPU compute time in a process that runs nothing else."""
    medians = quiet_compute_medians_ms(plan, batch_size, TURNS, seconds)
    median_ms = statistics.median(medians)
    return {
        "medians_ms": medians,
        "median_ms": median_ms,
        "images_per_second": 1e3 * batch_size / median_ms,
    }


def independent(plan: Path, batch_size: int) -> dict[str, Any]:
    """Ours and PyTorch's GPU time of one query, and their difference."""
    # Every process here starts by importing this module.
    import torch

    engine = Engine(plan)
    session = engine.session(batch_size)
    session.load(random_inputs(engine, batch_size))
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        assert session.context.execute_async_v3(stream.cuda_stream)

    def event() -> Any:  # noqa: ANN401
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def theirs() -> float:
        """Median over pairs of PyTorch's events, one pair a replay."""
        with torch.cuda.stream(stream):
            pairs = [(event(), event()) for _ in range(50)]
            times: list[float] = []
            while len(times) < REPLAYS:
                for begin, end in pairs:
                    begin.record()
                    graph.replay()
                    end.record()
                stream.synchronize()
                times += [begin.elapsed_time(end) for begin, end in pairs]
        return statistics.median(times)

    def back_to_back() -> float:
        """One pair around all replays: what is left when launches overlap."""
        with torch.cuda.stream(stream):
            begin, end = event(), event()
            begin.record()
            for _ in range(REPLAYS):
                graph.replay()
            end.record()
            stream.synchronize()
        return float(begin.elapsed_time(end)) / REPLAYS

    measures: dict[str, Callable[[], float]] = {
        "ours": lambda: statistics.median(session.compute_times_ms(REPLAYS)),
        "torch_events": theirs,
        "torch_back_to_back": back_to_back,
    }
    for measure in measures.values():
        measure()
    turns: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(TURNS):
        for name, measure in measures.items():
            turns[name].append(measure())
    medians = {name: statistics.median(times) for name, times in turns.items()}
    session.close()
    return {
        "median_ms": medians,
        "turns_ms": turns,
        "difference_percent": 100 * (medians["ours"] / medians["torch_events"] - 1),
    }


def polygraphy(plan: Path, batch_size: int, seconds: float) -> dict[str, Any]:
    """Polygraphy's TensorRT runner on host arrays, by the wall clock."""
    from polygraphy.backend.common import BytesFromPath
    from polygraphy.backend.trt import EngineFromBytes, TrtRunner

    with Engine(plan) as engine:
        inputs = random_inputs(engine, batch_size)
        profile = engine.profiles.choose(batch_size, engine.name).profile
    # Without one it takes the first, whatever batch that is for.
    engine_bytes = EngineFromBytes(BytesFromPath(str(plan)))
    with TrtRunner(engine_bytes, optimization_profile=profile) as runner:
        for _ in range(20):
            runner.infer(inputs)
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            runner.infer(inputs)
            times.append(time.perf_counter() - start)
    return {"images_per_second": batch_size / statistics.median(times), "queries": len(times)}


def ours(plan: Path, batch_size: int, seconds: float) -> dict[str, Any]:
    """How far medians are apart, and images a second from host arrays."""
    result: dict[str, Any] = in_own_process(_repeated_of, plan, batch_size, seconds)
    result["throughput"] = throughput(plan, batch_size, seconds)
    if "quantizer" in result:
        result["in_flight_from_floats"] = in_flight(plan, batch_size, seconds, from_floats=True)
    result["throughput"]["in_flight_on_own_streams"] = in_flight(
        plan, batch_size, seconds, own_streams=True
    )
    return result


def _repeated_of(plan: Path, batch_size: int, seconds: float) -> dict[str, Any]:
    """The repeats, the clocks meanwhile, and what quantizes floats where codes are wanted."""
    with Engine(plan) as engine, watch_gpu() as watch:
        inputs = random_inputs(engine, batch_size)
        result: dict[str, Any] = {"repeated": repeated(engine, batch_size, inputs, seconds)}
        if watch:
            watch.look()
        telemetry = watch.result() if watch else None
        if engine.input_scales:
            result["quantizer"] = name_quantizer()
    result["telemetry"] = asdict(telemetry) if telemetry else {}
    return result


def repeated(engine: Engine, batch_size: int, inputs: Arrays, seconds: float) -> dict[str, Any]:
    """The median of several measurements, each with a session of its own."""
    medians = []
    for _ in range(TURNS):
        session = engine.session(batch_size)
        timing = measure_latency(session, inputs, LatencyOptions(200, seconds))
        medians.append(timing.compute.median_ms)
        session.close()
    spread = 100 * (max(medians) - min(medians)) / statistics.median(medians)
    return {"medians_ms": medians, "spread_percent": spread}


def name_quantizer() -> str:
    """What quantizes floats on this host: ONNX Runtime, or NumPy where that does not work."""
    told: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record)

    logger = logging.getLogger(host_quantizer.__name__)
    listener, level = Listener(), logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        host_quantizer.open_quantizer(1.0)
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
    # It says so where it has none.
    return "NumPy" if told else "ONNX Runtime"


def query_of(plan: Path, batch_size: int) -> Query:
    """What trtexec shall run: random inputs as the plan takes them."""
    with Engine(plan) as engine:
        return Query(
            plan,
            random_inputs(engine, batch_size),
            frozenset(spec.name for spec in engine.inputs if DYNAMIC in spec.shape),
            engine.profiles.choose(batch_size, engine.name).profile,
        )


def with_trtexec(
    program: Path, plan: Path, batch_size: int, seconds: float, busy_ms: float
) -> dict[str, Any]:
    """Ours beside trtexec's, in turns.

    Args:
        program: trtexec.
        plan: The plan.
        batch_size: Images a query.
        seconds: How long each measures, each time.
        busy_ms: Our time in a process that runs more.

    Raises:
        TrtexecError: It does not run the plan.
    """

    def in_quiet_process() -> float:
        return quiet_compute_medians_ms(plan, batch_size, 1, seconds)[0]

    query = in_own_process(query_of, plan, batch_size)
    found = beside_trtexec(program, query, seconds, in_quiet_process)
    return {
        **asdict(found),
        "difference_percent": found.difference_percent,
        "busy_difference_percent": found.difference_of(busy_ms),
    }


if __name__ == "__main__":
    sys.exit(main())
