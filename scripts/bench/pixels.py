r"""What it costs that a graph takes bytes of images: each form beside floats and beside codes.

A ResNet-50 is exported from floats, from codes, and from bytes in every form of
``trtqat.graph.pixels``, both layouts. Weights are float, as TensorRT 8.6 takes no others behind
bytes. Of each graph, on a GPU with TensorRT:

1. GPU compute time, in a process that runs nothing else; what the builder refuses is written down.
2. Request, copies and images a second with several queries in flight, from uint8 host arrays
   beside codes and floats.

``--layers-only`` needs no GPU: it builds with TensorRT for RTX, and says what stands before the
first convolution. Most of the time is the builder's; ``--only`` names some graphs alone.

    python -m scripts.bench.pixels --output scripts/results/pixels.json --only floats codes \
        nhwc-affine-first nhwc-affine-middle nchw-affine-first nhwc-table-first nhwc-layer-first
    python -m scripts.bench.pixels --layers-only --with-bgr --output …/pixels-layers.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx_ir as ir

from scripts.bench.pixels_table import layers_table, measured_table
from scripts.bench.quiet import in_own_process, quiet_compute_medians_ms, random_inputs
from scripts.bench.record import describe_run
from scripts.bench.rtx_layers import first_layers, rtx_version
from scripts.bench.throughput import throughput
from scripts.models import resnet
from trtqat.building.builder import build
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.errors import BuildError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph.passes.take_codes import take_codes
from trtqat.graph.pixels.forms import forms_for, only
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.graph_file.reading import read_model
from trtqat.host.environment import describe_environment
from trtqat.pixels import LAYOUTS, Pixels
from trtqat.provenance import METADATA_KEY, Provenance
from trtqat.runtime.engine import Engine
from trtqat.tensors import TensorSpec

IMAGES = TensorSpec("images", (1, 3, 224, 224))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TURNS = 5


def main() -> None:
    """Builds and measures all, writes the file after each, and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--layers-only", action="store_true")
    parser.add_argument("--with-bgr", action="store_true", help="each form from BGR, too")
    parser.add_argument("--only", nargs="*", help="names of graphs, as the tables have them")
    parser.add_argument("--tactic-sources", default="", help="as trtqat build takes them")
    parser.add_argument("--timing-cache", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    record: dict[str, Any] = describe_run("pixels")
    if arguments.layers_only:
        record["tensorrt_rtx"] = rtx_version()
    else:
        record["batch_size"] = arguments.batch_size
        record["environment"] = asdict(in_own_process(describe_environment, with_gpu=True))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in write_graphs(Path(folder), arguments):
            alone = arguments.layers_only
            result = {"rtx": first_layers(graph)} if alone else measured(graph, arguments)
            results[name] = result
            arguments.output.write_text(json.dumps({**record, "graphs": results}, indent=1) + "\n")
            print(name, result, flush=True)
    if arguments.layers_only:
        print(layers_table(results))
    else:
        print(measured_table(results, arguments.batch_size))


def write_graphs(folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Exports the model once, and writes its graphs by name.

    Args:
        folder: Where to.
        arguments: Which of them.
    """
    floats = folder / "floats.onnx"
    improve = ImproveOptions(int8_weights=False)
    export_onnx(resnet.qat(), floats, ExportOptions((IMAGES,), improve=improve))
    for name, model, provenance in graphs_of(floats, with_bgr=arguments.with_bgr):
        if arguments.only and name not in arguments.only:
            continue
        path = folder / f"{name}.onnx"
        model.metadata_props[METADATA_KEY] = provenance.to_json()
        ir.save(model, path)
        yield name, path


def graphs_of(floats: Path, *, with_bgr: bool) -> Iterator[tuple[str, ir.Model, Provenance]]:
    """The graph from floats, the one from codes, and those from bytes, with what they record."""
    yield "floats", read_model(floats), Provenance()
    codes = read_model(floats)
    yield "codes", codes, Provenance(quantized_inputs=take_codes(codes).scales)
    for layout in LAYOUTS:
        for bgr in (False, True) if with_bgr else (False,):
            pixels = Pixels(layout, MEAN, STD, bgr=bgr)
            for form in forms_for(layout):
                model = read_model(floats)
                take_pixels(model, {IMAGES.name: pixels}, only(form))
                name = f"{layout}{'-bgr' if bgr else ''}-{form.name}"
                yield name, model, Provenance(pixels={IMAGES.name: pixels})


def measured(graph: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What an engine of a graph takes on the GPU, or why there is none."""
    size = arguments.batch_size
    plan = graph.with_suffix(".engine")
    options = BuildOptions(
        profile=ProfileOptions(batch=(size, size, size)),
        tactic_sources=arguments.tactic_sources,
        timing_cache=arguments.timing_cache,
    )
    try:
        built = in_own_process(_build, graph, plan, options)
    except BuildError as error:
        return {"refused": error.problem}
    medians = quiet_compute_medians_ms(plan, size, TURNS, arguments.seconds)
    return {
        **built,
        "compute_medians_ms": medians,
        "compute_ms": statistics.median(medians),
        "input_bytes": in_own_process(_input_bytes, plan, size),
        "throughput": in_own_process(_throughput, plan, size, arguments.seconds),
    }


def _build(graph: Path, plan: Path, options: BuildOptions) -> dict[str, Any]:
    built = build(graph, plan, options)
    layers = [] if built.layers is None else built.layers["Layers"]
    return {"layers": [each["Name"] if isinstance(each, dict) else each for each in layers]}


def _input_bytes(plan: Path, batch_size: int) -> int:
    with Engine(plan) as engine:
        return sum(each.nbytes for each in random_inputs(engine, batch_size).values())


def _throughput(plan: Path, batch_size: int, seconds: float) -> dict[str, Any]:
    with Engine(plan) as engine:
        return throughput(engine, batch_size, random_inputs(engine, batch_size), seconds)


if __name__ == "__main__":
    main()
