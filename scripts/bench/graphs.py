"""What the graph passes gain: INT8 engines of the same model from differently written graphs.

A graph is exported as written (float weights, BatchNorms kept, no repairs), the same with its
BatchNorm parameters behind Identity nodes, as ``trtqat export`` writes it, the same with --repair,
from the model whose BatchNorms were folded by hand in PyTorch, or without quantization (an FP16
engine). Needs a GPU and TensorRT; writes one JSON file.

    python -m scripts.bench.graphs --output scripts/results/graphs.json [--models resnet50 vit]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from scripts.bench.record import describe_run
from scripts.models import mobilenet, resnet, vit
from scripts.models.untrained import images, quantized, with_statistics
from scripts.vgg16_cifar10 import vgg16
from trtqat.building.builder import build
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.evaluation.latency import measure_latency
from trtqat.evaluation.timing import LatencyOptions
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph_file.reading import read_model
from trtqat.host.gpu import describe_gpu
from trtqat.runtime.engine import Engine
from trtqat.tensors import TensorSpec

BATCH = 32
ROUNDS = 3
AS_WRITTEN = ImproveOptions(fold_batch_norm=False, int8_weights=False, repair=False)


@dataclass(frozen=True)
class Workload:
    """A model to measure.

    Attributes:
        fp32: Makes its float form.
        size: Height and width of its images.
        variants: Which of the graphs are built.
    """

    fp32: Callable[[], nn.Module]
    size: int
    variants: tuple[str, ...]

    @property
    def batches(self) -> list[torch.Tensor]:
        """Calibration images ``(4, 3, size, size)``."""
        return [batch[..., : self.size, : self.size] for batch in images()]


def small_vgg16() -> nn.Module:
    """VGG-16 with the 4096-wide classifier and BatchNorm statistics of random images."""
    torch.manual_seed(0)
    return with_statistics(vgg16.vgg16(), [batch[..., :32, :32] for batch in images()])


FOLDING = ("as written", "behind Identity", "exported", "folded by hand")
FLOAT = ("as written", "exported", "repaired", "FP16")
WORKLOADS = {
    "vgg16": Workload(small_vgg16, 32, FOLDING),
    "resnet50": Workload(resnet.fp32, 224, FOLDING),
    "mobilenet": Workload(mobilenet.fp32, 224, FLOAT),
    "vit": Workload(vit.fp32, 224, FLOAT),
}


def main() -> None:
    """Builds, measures in turns, writes the file and prints a table."""
    arguments = _parse()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for name in arguments.models:
        workload = WORKLOADS[name]
        variants = [each for each in workload.variants if each in arguments.variants]
        results[name] = _measure(name, workload, variants, work, arguments.tactic_sources)
        _print(name, results[name])
        record = {
            **describe_run("graphs"),
            "batch": BATCH,
            "rounds": ROUNDS,
            "gpu": str(describe_gpu()),
            "torch": torch.__version__,
            "models": results,
        }
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")


def _measure(
    name: str, workload: Workload, variants: Sequence[str], work: Path, tactics: str
) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    engines: dict[str, Engine] = {}
    for variant in variants:
        graph = work / f"{name}-{variant.replace(' ', '-')}.onnx"
        if variant == "behind Identity":
            _hide_parameters(work / f"{name}-as-written.onnx", graph)
            rows[variant] = {"onnx_bytes": graph.stat().st_size}
        elif variant == "FP16":
            plain = read_model(work / f"{name}-exported.onnx")
            remove_quantization(plain)
            ir.save(plain, str(graph))
            rows[variant] = {"onnx_bytes": graph.stat().st_size}
        else:
            rows[variant] = _export(workload, variant, graph)
        rows[variant] |= _build(graph, "fp16" if variant == "FP16" else "int8", tactics)
        engines[variant] = Engine(graph.with_suffix(".engine"))
    _time(engines, rows, workload.size)
    return rows


def _export(workload: Workload, variant: str, graph: Path) -> dict[str, Any]:
    model, name = workload.fp32(), "images"
    if variant == "folded by hand":
        model = fuse(model)
        assert isinstance(model, torch.fx.GraphModule)
        # torch.fx names inputs in its own way.
        name = next(node.name for node in model.graph.nodes if node.op == "placeholder")
    options = ExportOptions(
        inputs=(TensorSpec(name, (1, 3, workload.size, workload.size)),),
        improve=AS_WRITTEN
        if variant == "as written"
        else ImproveOptions(repair=variant == "repaired"),
    )
    result = export_onnx(quantized(model, workload.batches), graph, options)
    folded = result.batch_norms
    return {
        "onnx_bytes": result.size_bytes,
        "export_s": result.seconds,
        "sqnr_db": result.verification.sqnr_db,
        "folded": folded.count if folded else 0,
        "codes_changed": folded.codes_changed if folded else 0,
        "batch_norms_left": result.summary.batch_norms,
        "repairs": len(result.improvements.repairs),
        "int8_share": result.summary.int8_share,
        "warnings": [finding.rule for finding in result.warnings],
    }


def _hide_parameters(source: Path, graph: Path) -> None:
    """Puts an Identity before every BatchNorm parameter.

    PyTorch's TorchScript exporter does so where two of them are equal, as in a network that
    was not trained; the torch.export-based one and ``trtqat export`` do not.
    """
    model = read_model(source)
    for node in list(model.graph):
        if node.op_type != "BatchNormalization":
            continue
        for index, value in list(enumerate(node.inputs))[1:]:
            assert value is not None
            identity = ir.Node("", "Identity", [value], name=f"{node.name}/Identity_{index}")
            identity.outputs[0].name = f"{identity.name}_output_0"
            model.graph.insert_before(node, identity)
            node.replace_input_with(index, identity.outputs[0])
    ir.save(model, str(graph))


def _build(graph: Path, precision: Any, tactics: str) -> dict[str, Any]:  # noqa: ANN401
    options = BuildOptions(
        profile=ProfileOptions(batch=(1, BATCH, BATCH)),
        precision=precision,
        tactic_sources=tactics,
    )
    manifest = build(graph, graph.with_suffix(".engine"), options).manifest
    return {
        "tensorrt": manifest.tensorrt,
        "plan_bytes": manifest.plan_bytes,
        "build_s": manifest.build_seconds,
    }


def _time(engines: dict[str, Engine], rows: dict[str, Any], size: int) -> None:
    """Measures in turns, so that the clock's drift hits all variants alike."""
    x = np.random.default_rng(0).standard_normal((BATCH, 3, size, size)).astype(np.float32)
    options = LatencyOptions(warm_up_ms=200, duration_s=0.7)
    sessions = {variant: engine.session(BATCH) for variant, engine in engines.items()}
    medians: dict[str, list[float]] = {variant: [] for variant in engines}
    outputs: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for variant, session in sessions.items():
            inputs = {engines[variant].inputs[0].name: x}
            timing = measure_latency(session, inputs, options)
            medians[variant].append(timing.compute.median_ms)
            rows[variant]["mode"] = timing.mode
            outputs[variant] = next(iter(session.run(inputs).values()))
    for variant, times in medians.items():
        rows[variant]["gpu_ms"] = statistics.median(times)
        rows[variant]["gpu_ms_rounds"] = times
        first = next(iter(outputs.values()))
        rows[variant]["same_class_as_first"] = int(
            (outputs[variant].argmax(1) == first.argmax(1)).sum()
        )


def _print(name: str, rows: dict[str, Any]) -> None:
    for variant, row in rows.items():
        print(
            f"{name:10} {variant:16} {row['gpu_ms']:8.3f} ms  "
            f"onnx {row['onnx_bytes'] / 1e6:7.1f} MB  build {row['build_s']:6.1f} s  "
            f"SQNR {row.get('sqnr_db', float('nan')):6.1f} dB  folded {row.get('folded', 0):3}  "
            f"codes changed {row.get('codes_changed', 0)}  lint {len(row.get('warnings', []))}  "
            f"same class as the first {row['same_class_as_first']}/{BATCH}",
            flush=True,
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/graphs"))
    parser.add_argument("--models", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    every = sorted({each for workload in WORKLOADS.values() for each in workload.variants})
    parser.add_argument("--variants", nargs="+", choices=every, default=every)
    parser.add_argument("--tactic-sources", default="")
    return parser.parse_args()


if __name__ == "__main__":
    main()
