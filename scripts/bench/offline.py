r"""Images a second offline, as MLPerf counts them: large batches, any order, no bound on latency.

Of each batch size, in a process of its own:

1. In device memory: what the GPU computes when the inputs lie there, by its compute time with CUDA
   graphs.
2. From host memory: the inputs lie in pinned memory, several queries are in flight, and copies
   overlap with computing. Beside it stands what the bus and the host's launches allow, and so
   which of the three limits.

The model is a plan, or a graph that is built first, with one shape profile for each batch size. One
that `trtqat export --quantized-input` made takes INT8 codes, a quarter of the bytes of floats.
Needs a GPU and TensorRT.

    python -m scripts.bench.offline runs/bench/resnet50-codes.onnx --beside-mlperf \
        --json scripts/results/offline-resnet50.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from scripts.bench.offline_figures import (
    MLPERF_IMAGES_PER_SECOND,
    OfflineFigures,
    beside_mlperf,
    make_table,
)
from scripts.bench.offline_measuring import Effort, batch_ranges, measure
from scripts.bench.quiet import exit_code_of, in_own_process
from scripts.bench.record import describe_run
from trtqat.errors import UsageError
from trtqat.files import check_writable, write_atomically
from trtqat.host.environment import describe_environment
from trtqat.plan.profiles import BatchRange, batches_in_words, choose_profile
from trtqat.typed_json import json_text

SCHEMA = 1
POWERS_OF_TWO = tuple(2**exponent for exponent in range(5, 11))


def main(given: Sequence[str] | None = None) -> int:
    """Builds if need be, measures each batch size, prints a table and writes the file.

    Args:
        given: The command line; None takes the process's own.

    Returns:
        0, or the exit code of what went wrong; what was measured before it is written.
    """
    arguments = _parser().parse_args(given)
    return exit_code_of(partial(_measure_all, arguments), arguments.model)


def _measure_all(arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        check_writable(arguments.json)
    effort = Effort(arguments.repeats, arguments.seconds, arguments.in_flight)
    plan = _plan_of(arguments)
    sizes = chosen_sizes(in_own_process(batch_ranges, plan), arguments.batch, plan.name)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        **describe_run("offline"),
        "environment": asdict(in_own_process(describe_environment, with_gpu=True)),
        "plan": plan.name,
        "plan_bytes": plan.stat().st_size,
        "effort": asdict(effort),
    }
    if arguments.beside_mlperf:
        record["mlperf_images_per_second"] = MLPERF_IMAGES_PER_SECOND
    rows: list[OfflineFigures] = []
    for size in sizes:
        rows.append(in_own_process(measure, plan, size, effort))
        print(f"batch {size}: done", file=sys.stderr, flush=True)
        if arguments.json is not None:
            text = json_text({**record, "batches": [row_fields(row) for row in rows]})
            write_atomically(arguments.json, (text + "\n").encode())
    print(make_table(rows))
    if arguments.beside_mlperf:
        print(beside_mlperf(rows))


def chosen_sizes(
    ranges: Sequence[BatchRange], asked: Sequence[int] | None, name: str
) -> tuple[int, ...]:
    """The batch sizes to measure.

    Args:
        ranges: What each profile of the plan takes.
        asked: By the user; None takes the powers of two from 32 to 1024 that the plan takes.
        name: Of the plan, for messages.

    Raises:
        UsageError: The plan does not take one of them, or none of these powers.
    """
    sizes = POWERS_OF_TWO if asked is None else tuple(asked)
    taken = tuple(size for size in sizes if choose_profile(ranges, size) is not None)
    refused = [str(size) for size in sizes if size not in taken]
    if not taken or (asked is not None and refused):
        raise UsageError(
            f"'{name}' takes batches of {batches_in_words(ranges)}, not {', '.join(refused)}.",
            "Name some of these with --batch, or give the graph, which is built for what you name.",
        )
    return taken


def row_fields(row: OfflineFigures) -> dict[str, Any]:
    """A row for JSON: what was measured, and what follows from it."""
    return {
        **asdict(row),
        "gpu_images_per_second": row.gpu_images_per_second,
        "bus_images_per_second": row.bus_images_per_second,
        "host_images_per_second": row.host_images_per_second,
        "h2d_gb_per_second": row.h2d_gb_per_second,
        "share": row.share,
        "limit": row.limit,
        "compute_spread_percent": row.compute_ms.percent,
        "in_flight_spread_percent": row.images_per_second.percent,
        "is_steady": row.is_steady,
    }


def _plan_of(arguments: argparse.Namespace) -> Path:
    """The plan that was given, or one that is built of the graph."""
    model: Path = arguments.model
    if not model.is_file():
        raise UsageError(f"There is no file '{model}'.", "Give a plan or an ONNX file.")
    if model.suffix != ".onnx":
        return model
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    plan = work / f"{model.stem}.engine"
    sizes = arguments.batch or POWERS_OF_TWO
    in_own_process(
        _build,
        model,
        plan,
        batch=",".join(map(str, sizes)),
        tactic_sources=arguments.tactic_sources,
        timing_cache=arguments.timing_cache,
    )
    return plan


def _build(model: Path, plan: Path, **options: Any) -> None:  # noqa: ANN401
    from trtqat.building.builder import build_plan
    from trtqat.building.parsing import parse_options

    # What it returns is not for another process.
    build_plan(model, plan, parse_options(plan, **options))


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(map(int, text.split(",")))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
        raise argparse.ArgumentTypeError(f"'{text}' are no batch sizes, as 32,64,128")
    return sizes


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.offline", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("model", type=Path, help="a plan, or an .onnx file that is built first")
    parser.add_argument(
        "--batch",
        type=_sizes,
        metavar="N,N,…",
        help="sizes to measure; default: of 32 to 1024 the powers of two that the plan takes",
    )
    parser.add_argument("--in-flight", type=_count, default=4, help="queries at once")
    parser.add_argument("--repeats", type=_count, default=5, help="of every figure")
    parser.add_argument("--seconds", type=float, default=0.5, help="of every repeat")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--beside-mlperf",
        action="store_true",
        help="say which share of NVIDIA's submission that is, which is for ResNet-50",
    )
    building = parser.add_argument_group("graphs")
    building.add_argument("--work", type=Path, default=Path("runs/offline"), help="for the plan")
    building.add_argument("--tactic-sources", default="", help="as trtqat build has it")
    building.add_argument("--timing-cache", default="none", help="as trtqat build has it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
