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
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from scripts.bench.half_probes import PROBES
from scripts.bench.half_ways import (
    AUTOCAST,
    CONVERT_TO_F16,
    OURS,
    write_without_pieces,
)
from scripts.bench.half_workloads import WORKLOADS, Workload
from scripts.bench.rtx_layers import build_layers
from scripts.summarize import current_commit, written
from tests.support.half_graphs import weight_codes
from trtqat.errors import TrtqatError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.verification.pieces import FP16
from trtqat.exporting.verification.reference import OF_HALF, GraphReference
from trtqat.exporting.verification.rounding import round_everywhere
from trtqat.exporting.verification.verify import verify
from trtqat.host.environment import describe_environment
from trtqat.numerics import difference
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Arrays

ROOT = Path(__file__).parents[2]
GRAPHS = {**PROBES, **WORKLOADS}
SAMPLES = 8
# Of the process that converts, and of the clock.
UNCHANGED_BY_PIECES = {"kept", "import_s", "first_s", "median_s", "build_s"}
_MULTIPLYING = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_MOVING = {"Reshape", "Transpose", "Squeeze", "Unsqueeze"}
_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


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
                "command": shlex.join(["python", "-m", "scripts.bench.half", *sys.argv[1:]]),
                "commit": current_commit(),
                "cpus": os.cpu_count(),
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
    np.savez(samples, **workload.batch(workload.samples, seed=0))
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
            row[way] |= _compare(before, Graph(half), workload)
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
        figures = _compare(before, Graph(half), workload)
        found[piece] = {
            key: [whole.get(key), figures.get(key)]
            for key in sorted({*figures, *whole} - UNCHANGED_BY_PIECES)
            if figures.get(key) != whole.get(key)
        }
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Graph:
    """An ONNX file, and what its nodes and tensors are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.proto = onnx.load(path)

    @cached_property
    def types(self) -> dict[str, int]:
        """Types of all tensors, by name."""
        inferred = onnx.shape_inference.infer_shapes(self.proto).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        types = {each.name: each.type.tensor_type.elem_type for each in values}
        return types | {each.name: each.data_type for each in inferred.initializer}

    @cached_property
    def quantized(self) -> frozenset[str]:
        """Nodes that multiply what two DequantizeLinear nodes give."""
        producers = {name: node for node in self.proto.graph.node for name in node.output}

        def is_dequantized(name: str) -> bool:
            node = producers.get(name)
            while node is not None and node.op_type in _MOVING:
                node = producers.get(node.input[0])
            return node is not None and node.op_type == "DequantizeLinear"

        return frozenset(
            node.name
            for node in self.proto.graph.node
            if node.op_type in _MULTIPLYING and all(map(is_dequantized, node.input[:2]))
        )

    @cached_property
    def half_nodes(self) -> frozenset[str]:
        """Nodes that compute in FP16."""
        # A Cast computes nothing, and a QuantizeLinear gives codes.
        return frozenset(
            node.name
            for node in self.proto.graph.node
            for name in (node.input[:1] if node.op_type == "QuantizeLinear" else node.output)
            if node.op_type != "Cast" and self.types.get(name) == _HALF
        )

    @property
    def interface(self) -> list[tuple[str, int]]:
        """Names and types of inputs and outputs."""
        values = (*self.proto.graph.input, *self.proto.graph.output)
        return [(each.name, each.type.tensor_type.elem_type) for each in values]

    def engine(self, quantized: frozenset[str]) -> dict[str, Any]:
        """Figures of the plan that TensorRT for RTX builds."""
        built = build_layers(self.path)
        if built.refused:
            return {"refused": built.refused}
        missing = sorted(quantized - built.int8_nodes)
        return {
            "build_s": built.seconds,
            "plan_bytes": built.plan_bytes,
            "int8_layers": len(quantized) - len(missing),
            "not_int8": missing[:4],
            "engine_layers": built.layers,
            "generated_kernels": built.generated,
            "reformatting_layers": built.reformats,
            "casts_in_kernels": built.casts,
            "written_bytes": built.written_bytes,
        }


def _compare(before: Graph, after: Graph, workload: Workload) -> dict[str, Any]:
    """Figures of an FP16 graph."""
    operators = Counter(node.op_type for node in after.proto.graph.node)
    figures = {
        "file_bytes": after.path.stat().st_size,
        "nodes": len(after.proto.graph.node),
        "half_nodes": len(after.half_nodes),
        "casts": operators["Cast"],
        "interface_kept": before.interface == after.interface,
        "nodes_lost": _lost(before.proto.graph.node, after.proto.graph.node),
        "codes_changed": _changed_codes(before, after),
        "scales_clamped": _clamped_scales(before, after),
        **after.engine(before.quantized),
    }
    full, half = before.path.read_bytes(), after.path.read_bytes()
    larger = replace(workload, size=workload.size * workload.held_out)
    batch = larger.batch(SAMPLES, seed=1)
    try:
        expected = _run(full, batch)
        figures |= _agreement("as_run", expected, _run(half, batch), workload)
        figures |= _agreement("rounded", expected, _run(round_everywhere(half), batch), workload)
    except TrtqatError as error:
        figures["not_run"] = str(error)[:300]
    try:
        reference = GraphReference(full, [larger.batch(workload.samples, seed=1)], OF_HALF)
        pieces = verify(half, reference, tolerance=FP16).pieces
        figures["verified"] = True
        figures["pieces_db"] = pieces.least_db if pieces else None
    except TrtqatError as error:
        figures["verified"] = str(error)[:300]
    return figures


def _run(graph: bytes, batch: Arrays) -> Arrays:
    with OnnxModel(graph, as_written=True) as model:
        return model.session(SAMPLES).run(batch)


def _agreement(name: str, expected: Arrays, actual: Arrays, workload: Workload) -> dict[str, Any]:
    """The least SQNR of the outputs, and how many of the greatest scores are the same."""
    if any(expected[key].shape != actual[key].shape for key in expected):
        return {f"{name}_db": "another shape"}
    least = min(difference(expected[key], actual[key]).sqnr_db for key in expected)
    found: dict[str, Any] = {f"{name}_db": least if np.isfinite(least) else str(least)}
    if workload.classes:
        same = [np.argmax(expected[key], -1) == np.argmax(actual[key], -1) for key in expected]
        found[f"{name}_same_class"] = f"{int(same[0].sum())}/{same[0].size}"
    return found


def _lost(before: Sequence[onnx.NodeProto], after: Sequence[onnx.NodeProto]) -> int:
    """How many nodes have no namesake of the same operator."""
    kept = {(node.name, node.op_type) for node in after}
    return sum((node.name, node.op_type) not in kept for node in before)


def _changed_codes(before: Graph, after: Graph) -> int | str:
    expected, found = dict(weight_codes(before.proto)), dict(weight_codes(after.proto))
    if not set(expected) <= set(found):
        return f"not comparable: {len(set(expected) - set(found))} weights have other names"
    return sum(int((found[name] != codes).sum()) for name, codes in expected.items())


def _clamped_scales(before: Graph, after: Graph) -> int:
    """Scales that changed by more than rounding to FP16's 11 bits does, of channels in use."""
    codes = dict(weight_codes(before.proto))
    changed = 0
    expected, found = (dict(_scales(graph.proto)) for graph in (before, after))
    for name in set(expected) & set(found):
        scale, other = expected[name].astype(float), found[name].astype(float)
        far = np.abs(other / scale - 1) > 2.0**-10
        if name in codes and scale.size > 1 and codes[name].shape[0] == scale.size:
            far &= codes[name].reshape(scale.size, -1).any(1).reshape(far.shape)
        changed += int(far.sum())
    return changed


def _scales(proto: onnx.ModelProto) -> list[tuple[str, Any]]:
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    return [
        (node.output[0], arrays[node.input[1]])
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear" and node.input[1] in arrays
    ]


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
