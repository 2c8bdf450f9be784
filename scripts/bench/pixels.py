r"""What it costs that a graph takes bytes of images: each form beside floats and beside codes.

A ResNet-50 is exported from floats, from codes, and from bytes in every form of
``trtqat.graph.pixels``, both layouts. Weights are float, as TensorRT 8.6 takes no others behind
bytes. Of each graph, on a GPU with TensorRT:

1. GPU compute time, in a process that runs nothing else; what the builder refuses is written down.
2. What it computes of the same images, whatever their layout, as a hash: where two forms have the
   same outputs bit for bit, they made the same codes.
3. Request, copies and images a second with several queries in flight, from uint8 host arrays
   beside codes and floats. All graphs take turns, so that what else the host does hits all.

``--layers-only`` needs no GPU: it builds with TensorRT for RTX, and says what stands before the
first convolution. Most of the time is the builder's; ``--only`` names some graphs alone, and is the
order in which they are measured. The names are ``floats``, ``codes``, and layout and form, as
``nhwc-affine-first``, ``nhwc-channels``, ``nhwc-bgr-table-last``.

The file is written after each graph, and after each turn of all. A run that was cut off goes on
when it is started again with the same options. Then all graphs take their turns anew, as figures
are compared within a turn alone. Where there is no git, ``COMMIT=…`` has to say of which commit it
is.

    python -m scripts.bench.pixels --output scripts/results/pixels.json --only floats codes \
        nhwc-affine-first nhwc-affine-middle nchw-affine-first nhwc-table-first nhwc-layer-first
    python -m scripts.bench.pixels --layers-only --with-bgr --output …/pixels-layers.json

The export can be made before, on another host, and be given with ``--graph``:

    trtqat export scripts/models/resnet.py:qat --input images:1x3x224x224 --float-weights \
        -o floats.onnx
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench.in_flight import throughput
from scripts.bench.pixels_graphs import check_floats, chosen_graphs, export_floats, write_graph
from scripts.bench.pixels_table import layers_table, measured_table
from scripts.bench.quiet import (
    exit_code_of,
    in_own_process,
    quiet_compute_medians_ms,
    random_inputs,
)
from scripts.bench.record import describe_run
from scripts.bench.resuming import go_on
from scripts.bench.rtx_layers import first_layers, rtx_version
from trtqat.building.builder import build
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.errors import BuildError
from trtqat.files import check_writable, sha256_of, write_atomically
from trtqat.host.environment import describe_environment
from trtqat.pixels import PixelSpec
from trtqat.runtime.engine import Engine
from trtqat.tensors import BYTES
from trtqat.typed_json import json_text

_MEDIANS = 5
# Which keep the GPU busy; fewer and more of them were no faster.
_AT_ONCE = (4,)


def main(given: Sequence[str] | None = None) -> int:
    """Builds and measures all, writes the file after each, and prints the tables.

    Args:
        given: The command line; None takes the process's own.

    Returns:
        0, or the exit code of what went wrong; what was measured before it is written.
    """
    arguments = _parser().parse_args(given)
    return exit_code_of(partial(_measure_and_show, arguments), "a graph of these")


def _measure_and_show(arguments: argparse.Namespace) -> None:
    results = _measure_all(arguments)
    if arguments.layers_only:
        print(layers_table(results))
    else:
        print(measured_table(results, arguments.batch_size))


def _measure_all(arguments: argparse.Namespace) -> Mapping[str, Mapping[str, Any]]:
    """All results of the file, those of earlier runs among them."""
    names = chosen_graphs(arguments.only, with_bgr=arguments.with_bgr)
    check_writable(arguments.output)
    if arguments.graph is not None:
        check_floats(arguments.graph)
    record = go_on(arguments.output, _describe(arguments), anew=arguments.anew)
    results: dict[str, Any] = record["graphs"]
    done = sum(is_done(results.get(name, {}), arguments.turns) for name in names)
    print(f"{done} of {len(names)} graphs are done", file=sys.stderr)
    if done == len(names):
        return results
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        floats = arguments.graph or folder / "exported.onnx"
        if arguments.graph is None:
            export_floats(floats)
        _measure_each(names, record, arguments, partial(write_graph, floats=floats, folder=folder))
    return results


def is_done(result: Mapping[str, Any], turns: int) -> bool:
    """Whether a result has all that a run wants of its graph.

    Args:
        result: Of the file; empty if it has none.
        turns: How often queries in flight are measured.
    """
    if "rtx" in result or "refused" in result:
        return True
    return "compute_ms" in result and len(result.get("throughput", [])) >= turns


def _measure_each(
    names: Sequence[str],
    record: Mapping[str, Any],
    arguments: argparse.Namespace,
    write: Callable[[str], Path],
) -> None:
    """Adds to a record what it lacks of some graphs, and lets all that it has take turns.

    Args:
        names: Of the graphs.
        record: Written after each graph and each turn.
        arguments: The command line.
        write: Writes the graph of a name; its plan is built beside it.
    """
    results = record["graphs"]
    plans: dict[str, Path] = {}
    for name in names:
        if not is_done(results.get(name, {}), turns=0):
            graph = write(name)
            alone = arguments.layers_only
            results[name] = {"rtx": first_layers(graph)} if alone else measured(graph, arguments)
            plans[name] = _plan_of(graph)
            _write(record, arguments.output)
            print(name, results[name], file=sys.stderr, flush=True)
    built = {name: result for name, result in results.items() if "compute_ms" in result}
    if all(is_done(result, arguments.turns) for result in built.values()):
        return
    for name in built:
        if name not in plans:
            graph = write(name)
            _build_plan(graph, arguments)
            plans[name] = _plan_of(graph)
    for turn in range(arguments.turns):
        for name, result in built.items():
            found = throughput(plans[name], arguments.batch_size, arguments.seconds, _AT_ONCE)
            result["throughput"] = [*result.get("throughput", [])[:turn], found]
            print(turn, name, found, file=sys.stderr, flush=True)
        _write(record, arguments.output)


def _plan_of(graph: Path) -> Path:
    return graph.with_suffix(".engine")


def _write(record: Mapping[str, Any], output: Path) -> None:
    write_atomically(output, (json_text(record) + "\n").encode())


def _describe(arguments: argparse.Namespace) -> dict[str, Any]:
    record: dict[str, Any] = describe_run("pixels")
    if arguments.graph is not None:
        record["graph"] = {"name": arguments.graph.name, "sha256": sha256_of(arguments.graph)}
    if arguments.layers_only:
        record["tensorrt_rtx"] = rtx_version()
    else:
        record["batch_size"] = arguments.batch_size
        record["seconds"] = arguments.seconds
        record["tactic_sources"] = arguments.tactic_sources
        record["environment"] = asdict(in_own_process(describe_environment, with_gpu=True))
    return {**record, "graphs": {}}


def measured(graph: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What an engine of a graph takes on the GPU, or why there is none."""
    size = arguments.batch_size
    plan = _plan_of(graph)
    try:
        built = _build_plan(graph, arguments)
    except BuildError as error:
        return {"refused": error.problem}
    medians = quiet_compute_medians_ms(plan, size, _MEDIANS, arguments.seconds)
    return {
        **built,
        "compute_medians_ms": medians,
        "compute_ms": statistics.median(medians),
        "input_bytes": in_own_process(_input_bytes, plan, size),
        "outputs": in_own_process(_hash_of_outputs, plan, size),
    }


def _build_plan(graph: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Builds the plan that stands beside a graph, and returns what it is of."""
    size = arguments.batch_size
    options = BuildOptions(
        profile=ProfileOptions(batch=(size, size, size)),
        tactic_sources=arguments.tactic_sources,
        timing_cache=arguments.timing_cache,
    )
    return in_own_process(_build, graph, _plan_of(graph), options)


def _build(graph: Path, plan: Path, options: BuildOptions) -> dict[str, Any]:
    built = build(graph, plan, options)
    layers = [] if built.layers is None else built.layers["Layers"]
    return {"layers": [each["Name"] if isinstance(each, dict) else each for each in layers]}


def _input_bytes(plan: Path, batch_size: int) -> int:
    with Engine(plan) as engine:
        return sum(each.nbytes for each in random_inputs(engine, batch_size).values())


def _hash_of_outputs(plan: Path, batch_size: int) -> str | None:
    """Of what an engine that takes bytes makes of random images; None of another one."""
    with Engine(plan) as engine, engine.session(batch_size) as session:
        (spec,) = session.input_specs
        if not isinstance(spec, PixelSpec):
            return None
        rgb = np.random.default_rng(0).integers(0, BYTES, spec.floats.shape).astype(np.uint8)
        outputs = session.run({spec.name: spec.of_rgb(rgb)})
        return sha256(b"".join(outputs[name].tobytes() for name in sorted(outputs))).hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.pixels", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--layers-only", action="store_true")
    parser.add_argument("--with-bgr", action="store_true", help="each form from BGR, too")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these graphs, in this order; default: all"
    )
    parser.add_argument(
        "--turns",
        type=int,
        default=4,
        help="how often queries in flight are measured; 0: GPU compute time alone",
    )
    parser.add_argument(
        "--graph",
        type=Path,
        metavar="FILE",
        help="the graph from floats, with float weights; default: it is exported, which takes long",
    )
    parser.add_argument("--tactic-sources", default="", help="as trtqat build takes them")
    parser.add_argument("--timing-cache", type=Path)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="goes on from what the file holds, if that is of the same commit, batch size and GPU",
    )
    parser.add_argument("--anew", action="store_true", help="overwrites what the file holds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
