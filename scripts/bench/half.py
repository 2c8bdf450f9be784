"""Our FP16 graphs beside those of ModelOpt's AutoCast: values on ONNX Runtime, layers of an engine.

Each way makes an FP16 graph of the FP32 one that ``trtqat export --opset 19`` writes, in a process
of its own. It is compared with the FP32 graph on samples that it was not made with, and
built by TensorRT for RTX on the CPU: built and inspected, not run. Then ours is made once more
without each of its pieces; where that changes the file, the figures say what it changed.

AutoCast asks for other versions of onnx and ONNX Runtime than trtqat. So it may have a Python of
its own, which has ``nvidia-modelopt[onnx]``.

    python -m scripts.bench.half --output scripts/results/half.json --autocast venv/bin/python
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from scripts.bench.half_figures import Graph, compare
from scripts.bench.half_probes import PROBES
from scripts.bench.half_ways import (
    AUTOCAST,
    CONVERT_TO_F16,
    OURS,
    write_without_pieces,
)
from scripts.bench.half_workloads import WORKLOADS, Workload
from scripts.bench.record import describe_run
from scripts.summarize import written
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.host.environment import describe_environment

ROOT = Path(__file__).parents[2]
GRAPHS = {**PROBES, **WORKLOADS}
# Of the process that converts, and of the clock.
UNCHANGED_BY_PIECES = {"kept", "import_s", "first_s", "median_s", "build_s"}


def main() -> None:
    """Converts, compares, builds, writes the file and prints a line for each graph."""
    arguments = _parse()
    warnings.simplefilter("ignore")
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for name in arguments.models:
            rows[name] = _measure(name, GRAPHS[name], work, arguments)
            record = {
                **describe_run("half"),
                "environment": asdict(describe_environment(with_gpu=False)),
                "tensorrt_rtx": version("tensorrt_rtx_cu12_libs"),
                "autocast": _versions(arguments.autocast),
                "graphs": rows,
            }
            arguments.output.write_text(written(record) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(GRAPHS), choices=list(GRAPHS))
    parser.add_argument("--autocast", default=sys.executable, help="Python with its packages")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-pieces", action="store_true")
    parser.add_argument("--work", type=Path, help="where graphs are kept")
    return parser.parse_args()


def _versions(python: str) -> dict[str, str]:
    code = (
        "import json; from importlib.metadata import version; print(json.dumps({n: version(n) "
        "for n in ('nvidia-modelopt', 'onnx', 'onnxruntime', 'polygraphy')}))"
    )
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return dict(json.loads(found.stdout))


def _measure(
    name: str, workload: Workload, work: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    folder = work / name.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    samples, path = folder / "samples.npz", folder / "fp32.onnx"
    arrays: dict[str, Any] = {**workload.batch(workload.samples, seed=0)}
    np.savez(samples, **arrays)
    source = workload.build()
    if isinstance(source, ir.Model):
        onnx.save(onnx.shape_inference.infer_shapes(ir.to_proto(source), data_prop=True), path)
    else:
        export_onnx(source, path, ExportOptions(workload.inputs, opset=19, data=f"npz:{samples}"))
    before = Graph(path)
    row: dict[str, Any] = {
        "fp32": {
            "nodes": len(before.proto.graph.node),
            "file_bytes": path.stat().st_size,
            "quantized_layers": len(before.quantized),
            **before.engine(before.quantized),
        }
    }
    for way in (OURS, *AUTOCAST, CONVERT_TO_F16):
        python = sys.executable if way == OURS else arguments.autocast
        half = folder / f"{way.replace('/', '')}.onnx"
        row[way] = _convert(way, python, before.path, samples, half, arguments.rounds)
        if half.exists():
            row[way] |= compare(before, Graph(half), workload)
        print(f"{name:13} {way:25}", _line(row[way]), flush=True)
    if not arguments.no_pieces:
        row["without"] = _without_pieces(before, samples, folder, workload, row[OURS])
        print(f"{name:13} changed without:", ", ".join(row["without"]), flush=True)
    return row


def _convert(
    way: str, python: str, graph: Path, samples: Path, half: Path, rounds: int
) -> dict[str, Any]:
    half.unlink(missing_ok=True)
    command = [python, "-m", "scripts.bench.half_ways", way, str(graph), str(samples), str(half)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [*command, "--rounds", str(rounds)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        return {"failed": result.stderr.strip().splitlines()[-1][:300]}
    figures: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return figures


def _without_pieces(
    before: Graph, samples: Path, folder: Path, workload: Workload, whole: Mapping[str, Any]
) -> dict[str, Any]:
    """What changes when a piece is left out, for those pieces that change the file."""
    found: dict[str, Any] = {}
    expected = _digest(folder / f"{OURS}.onnx")
    for piece, half in write_without_pieces(before.path, samples, folder).items():
        if _digest(half) == expected:
            continue
        figures = compare(before, Graph(half), workload)
        found[piece] = {
            key: [whole.get(key), figures.get(key)]
            for key in sorted({*figures, *whole} - UNCHANGED_BY_PIECES)
            if figures.get(key) != whole.get(key)
        }
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _line(row: Mapping[str, Any]) -> str:
    if "failed" in row:
        return str(row["failed"])
    shown = ("half_nodes", "casts", "int8_layers", "engine_layers", "rounded_db", "median_s")
    values = [row.get(key, "-") for key in shown]
    texts = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
    verified = row.get("verified")
    return " ".join(
        [*map("{} {}".format, shown, texts), "" if verified is True else str(verified)[:150]]
    )


if __name__ == "__main__":
    main()
