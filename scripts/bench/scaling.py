"""How the cost of a graph grows with its nodes: reading, passes, FP16, lint.

CPU seconds of this process alone, without imports and without ONNX Runtime, on families of graphs
(``large_graphs.py`` and ``large_foreign.py`` in ``tests/support``) that double in size; the slope
is that of a line through the points from 4,000 nodes on, in log-log. ``trtqat inspect`` of 10,000
nodes is a whole process, imports included. Writes one JSON file; exits with 1 if a slope or the
time of ``inspect`` is above its limit.

    python -m scripts.bench.scaling --output scripts/results/scaling.json [--families ladder]
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from scripts.bench.record import describe_run
from tests.support.large_foreign import ALL_FAMILIES as FAMILIES
from tests.support.scaling_stages import (
    derive_half_with_borders,
    take_codes_where_possible,
    tidied,
)
from trtqat.graph.lenses.exits import float_exits
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lenses.targets import HALF_OPSET
from trtqat.graph.lint import lint
from trtqat.graph.passes.improvements import ImproveOptions, improve
from trtqat.graph.passes.raise_opset import raise_opset
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph.passes.tap import tap
from trtqat.graph_file.reading import read_model

ROOT = Path(__file__).parents[2]

SIZES = (1000, 2000, 4000, 8000, 16000, 30000)
FITTED_FROM = 4000
MAX_SLOPE = 1.15
MAX_INSPECT_SECONDS = 4.0
# What is before a tensor on a stream of floats are all blocks before it: the result is a square.
NOT_LIMITED = {("residual stream of floats", "taps"), ("ladder of floats", "taps")}


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--rounds", type=int, default=3, help="the least time of these counts")
    options = parser.parse_args()
    families = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.families:
            families[name] = measure(FAMILIES[name], options.sizes, options.rounds, Path(folder))
            print(f"{name}: {families[name]['slopes']}", file=sys.stderr)
        inspect_seconds = time_inspect(options.families, options.rounds, Path(folder))
    steep = [
        f"{name}, {stage}: {slope}"
        for name, family in families.items()
        for stage, slope in family["slopes"].items()
        if slope > MAX_SLOPE and (name, stage) not in NOT_LIMITED
    ]
    slow = [f"{k}: {v} s" for k, v in inspect_seconds.items() if v > MAX_INSPECT_SECONDS]
    result = {
        **describe_run("scaling"),
        "cpu": _cpu(),
        "python": sys.version.split()[0],
        "onnx": onnx.__version__,
        "onnx_ir": ir.__version__,
        "nodes": options.sizes,
        "max_slope": MAX_SLOPE,
        "not_limited": [", ".join(each) for each in sorted(NOT_LIMITED)],
        "above_max_slope": steep,
        "inspect_10000_nodes_cpu_seconds": inspect_seconds,
        "max_inspect_seconds": MAX_INSPECT_SECONDS,
        "families": families,
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if steep or slow:
        print("Above the limit:", *steep, *slow, sep="\n  ", file=sys.stderr)
        sys.exit(1)


def measure(
    make: Callable[[int], onnx.ModelProto], sizes: list[int], rounds: int, folder: Path
) -> dict[str, Any]:
    """CPU seconds of each stage at each size, and their slopes."""
    seconds: dict[str, list[float]] = {}
    counts = []
    for size in sizes:
        path = folder / "graph.onnx"
        proto = make(size)
        counts.append(len(proto.graph.node))
        onnx.save(proto, path)
        del proto
        found = [stages(path) for _ in range(rounds)]
        for stage in found[0]:
            seconds.setdefault(stage, []).append(round(min(each[stage] for each in found), 3))
    return {
        "nodes": counts,
        "seconds": seconds,
        "slopes": {stage: _slope(counts, times) for stage, times in seconds.items()},
    }


def stages(path: Path) -> dict[str, float]:
    """CPU seconds of each stage on one graph."""
    clock = _Clock()
    found = clock.time("read", lambda: read_model(path))
    clock.time("lint", lambda: lint(found))
    clock.time("summarize", lambda: (summarize(found), float_exits(found)))
    model = clock.time("tidy", lambda: tidied(path))
    clock.time("improve", lambda: improve(model, ImproveOptions(repair=True), opset=17))
    clock.time("write", lambda: ir.to_proto(model).SerializeToString())
    raised = clock.time("raise opset", lambda: raise_opset(model, HALF_OPSET))
    clock.time("half precision", lambda: derive_half_with_borders(raised))
    weights = tidied(path)
    improvement = ImproveOptions(int8_weights=False, fold_batch_norm=False)
    clock.time("float weights", lambda: improve(weights, improvement, opset=17))
    codes = read_model(path)
    clock.time("quantized input", lambda: take_codes_where_possible(codes))
    plain = tidied(path)
    clock.time("remove quantization", lambda: remove_quantization(plain))
    tapped = read_model(path)
    clock.time("taps", lambda: tap(tapped))
    return clock.seconds


class _Clock:
    """CPU time of this process by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Runs a stage, without what the one before left to be collected."""
        gc.collect()
        start = time.process_time()
        result = work()
        self.seconds[stage] = time.process_time() - start
        return result


def time_inspect(families: list[str], rounds: int, folder: Path) -> dict[str, float]:
    """User and system CPU seconds of ``trtqat inspect`` of 10,000 nodes, by family."""
    found = {}
    for name in families:
        path = folder / "graph.onnx"
        onnx.save(FAMILIES[name](10000), path)
        command = [sys.executable, "-m", "trtqat", "inspect", str(path)]
        times = []
        for _ in range(rounds):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        found[name] = round(min(times), 2)
    return found


def _slope(counts: list[int], times: list[float]) -> float:
    """Of a line through the points from ``FITTED_FROM`` nodes on, in log-log."""
    points = [
        (math.log(count), math.log(max(seconds, 1e-3)))
        for count, seconds in zip(counts, times, strict=True)
        if count >= 0.95 * FITTED_FROM
    ]
    if len(points) < 2:
        return 0.0
    x, y = zip(*points, strict=True)
    return round(statistics.linear_regression(x, y).slope, 3)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


if __name__ == "__main__":
    main()
