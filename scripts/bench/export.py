"""What an export costs: wall-clock time and peak memory against the bare ``torch.onnx.export``.

Each measurement is a process of its own. Bare is PyTorch's torch.export-based exporter on the
same model (quantizers replaced by the operator that they become), as PyTorch has it, and writing
its file; ours adds reading and checking quantizers, the passes, ONNX Runtime at three
batch sizes, lint.

    python -m scripts.bench.export --output scripts/results/export.json [--depths 26 50 152]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from scripts.bench.record import describe_run

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Runs each measurement in a process of its own and prints a table."""
    arguments = _parse()
    if arguments.measure:
        print(json.dumps(_measure(arguments.measure, arguments.depths[0], arguments.repeat)))
        return
    rows = []
    for depth in arguments.depths:
        row: dict[str, Any] = {"depth": depth}
        for kind in ("bare", "ours"):
            command = [sys.executable, "-m", "scripts.bench.export", "--measure", kind]
            command += ["--depths", str(depth), "--repeat", str(arguments.repeat), "--output", "-"]
            result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
            row |= json.loads(result.stdout.splitlines()[-1])
        row["time_ratio"] = row["ours_s"] / row["bare_s"]
        row["memory_ratio"] = row["ours_peak_bytes"] / row["bare_peak_bytes"]
        rows.append(row)
        print(
            f"ResNet-{depth:3} {row['parameters'] / 1e6:5.1f} M parameters  "
            f"bare {row['bare_s']:6.2f} s {row['bare_peak_bytes'] / 1e6:6.0f} MB  "
            f"ours {row['ours_s']:6.2f} s {row['ours_peak_bytes'] / 1e6:6.0f} MB  "
            f"ratio {row['time_ratio']:.2f} {row['memory_ratio']:.2f}",
            flush=True,
        )
    record = {
        **describe_run("export"),
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


def _measure(kind: str, depth: int, repeat: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    import torch

    from scripts.models import resnet
    from trtqat.exporting.options import ExportOptions
    from trtqat.exporting.pipeline import export_onnx
    from trtqat.exporting.tracing import trace
    from trtqat.quant.toolkits.quantizers import read_quantizers
    from trtqat.quant.toolkits.replacement import replaced_quantizers
    from trtqat.tensors import TensorSpec

    model = resnet.qat(depth=depth)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for _ in range(repeat):
            start = time.perf_counter()
            if kind == "ours":
                export_onnx(model, path, ExportOptions((TensorSpec("images", (1, 3, 224, 224)),)))
            else:
                import onnx_ir as ir

                samples = {"images": torch.randn(2, 3, 224, 224)}
                with (
                    replaced_quantizers(model, read_quantizers(model)),
                    mock.patch("trtqat.exporting.tracing.decomposed_by_node", nullcontext),
                    mock.patch("trtqat.exporting.tracing.unparsed_functions", nullcontext),
                ):
                    traced, _ = trace(
                        model,
                        samples,
                        {"logits": True},
                        opset=18,
                        dynamic_batch=True,
                        exporter="dynamo",
                    )
                    ir.save(traced, path)
            times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "parameters": parameters,
        f"{kind}_s": min(times),
        f"{kind}_all_s": times,
        f"{kind}_peak_bytes": peak * 1024,
        f"{kind}_peak_before_bytes": before * 1024,
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--depths", nargs="+", type=int, default=[26, 50, 152])
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--measure", choices=("bare", "ours"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
