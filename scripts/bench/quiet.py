"""Measuring in a process of its own, in which nothing else has run on the GPU.

In a process that has made several execution contexts, a CUDA-graph replay takes up to 20 us longer
(``trtqat/runtime/README.md``). So what the GPU computes alone is measured by a process that has one
session and does nothing else.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from trtqat.errors import InferenceError, MissingError, TrtqatError
from trtqat.runtime.engine import Engine
from trtqat.runtime.input_codes import quantize_inputs
from trtqat.runtime.session import EngineSession
from trtqat.tensors import Arrays, random_arrays

WARM_UP_S = 0.3
# Images that are drawn; a larger batch has them several times.
_DRAWN = 64
_LEAST_QUERIES = 10

P = ParamSpec("P")
T = TypeVar("T")


def in_own_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function of a module in a fresh process, and raises what it raises.

    Raises:
        concurrent.futures.process.BrokenProcessPool: The process died.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def exit_code_of(measure: Callable[[], object], what: object) -> int:
    """Measures, and says in a sentence what went wrong.

    Args:
        measure: What ``in_own_process`` is called in.
        what: Which runs there, for the sentence.

    Returns:
        0, or the exit code of what went wrong.
    """
    try:
        measure()
    except TrtqatError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except ImportError as error:
        print(
            f"'{what}' is not measured here: {error}.\n"
            "Install TensorRT and CUDA's bindings on a host with a GPU: pip install -e "
            "'.[tensorrt8]'",
            file=sys.stderr,
        )
        return MissingError.exit_code
    except BrokenProcessPool:
        # TensorRT ends a process where it does not know what to do.
        print(f"The process that ran '{what}' died.", file=sys.stderr)
        return InferenceError.exit_code
    return 0


def random_inputs(
    engine: Engine, batch_size: int, *, from_floats: bool = False
) -> dict[str, np.ndarray]:
    """Random inputs ``(N, …)`` by name, as the plan takes them: codes where it takes codes.

    Args:
        engine: Whose other open dimensions take the optimum of what it is tuned for.
        batch_size: N.
        from_floats: Whether a session is to make the codes of floats.
    """
    drawn = [spec.with_batch(min(batch_size, _DRAWN)) for spec in engine.session_inputs]
    scales = {} if from_floats else engine.input_scales
    inputs = quantize_inputs(random_arrays(drawn, seed=0), scales)
    return {name: np.resize(each, (batch_size, *each.shape[1:])) for name, each in inputs.items()}


def compute_medians_ms(
    session: EngineSession, inputs: Arrays, repeats: int, seconds: float
) -> list[float]:
    """Medians of the GPU compute time of one query, in ms.

    Args:
        session: By whose mode queries run.
        inputs: They stay in device memory.
        repeats: How many medians.
        seconds: What each is measured over; ten queries at least.
    """
    session.load(inputs)
    first = statistics.median(session.compute_times_ms(_LEAST_QUERIES))
    # An idle GPU has low clocks, so these first ones are slow.
    session.compute_times_ms(queries_in(WARM_UP_S, first))
    each = statistics.median(session.compute_times_ms(_LEAST_QUERIES))
    count = queries_in(seconds, each)
    return [statistics.median(session.compute_times_ms(count)) for _ in range(repeats)]


def queries_in(seconds: float, query_ms: float) -> int:
    """How many queries take so long; ten at least."""
    return max(_LEAST_QUERIES, round(1e3 * seconds / max(query_ms, 1e-3)))


def quiet_compute_medians_ms(
    plan: Path, batch_size: int, repeats: int, seconds: float
) -> list[float]:
    """What ``compute_medians_ms`` says of a plan in a process that runs nothing else.

    Args:
        plan: The plan.
        batch_size: One that it takes.
        repeats: How many medians.
        seconds: What each is measured over.
    """
    return in_own_process(_compute_medians_of, plan, batch_size, repeats, seconds)


def _compute_medians_of(plan: Path, batch_size: int, repeats: int, seconds: float) -> list[float]:
    with Engine(plan) as engine, engine.session(batch_size) as session:
        return compute_medians_ms(session, random_inputs(engine, batch_size), repeats, seconds)
