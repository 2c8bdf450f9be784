"""PyTorch FP16 as ``torch.compile`` makes it, beside PyTorch FP16 as it is, at several batch sizes.

``trtqat eval --compare torch-compile,torch-fp16`` measures the same beside an engine; this is for a
Python that has Triton, which ``torch.compile`` needs, and no TensorRT.

    python -m scripts.bench.compile --output scripts/results/compile.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.bench.record import describe_run
from scripts.models import resnet
from scripts.vgg16_cifar10 import vgg16
from trtqat.evaluation.latency import measure_in_turns
from trtqat.evaluation.timing import LatencyOptions
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

MODELS = {"vgg16": (vgg16.vgg16, 32), "resnet50": (resnet.fp32, 224)}


def main() -> None:
    """Measures in turns, writes the file after each batch size, and prints a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    record: dict[str, Any] = {
        **describe_run("compile"),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name(),
        "models": {},
    }
    for name in arguments.models:
        factory, side = MODELS[name]
        specs = [TensorSpec("images", (-1, 3, side, side))]
        models = [
            PyTorchModel(factory(), specs, device="cuda", precision="fp16", compiled=compiled)
            for compiled in (True, False)
        ]
        for size in arguments.batch_sizes:
            x = np.random.default_rng(0).standard_normal((size, 3, side, side))
            sessions = [model.session(size) for model in models]
            timings, (ratio,) = measure_in_turns(
                sessions, {"images": x.astype(np.float32)}, LatencyOptions(200, arguments.seconds)
            )
            record["models"][f"{name}, batch {size}"] = {
                "compiled_ms": timings[0].compute.median_ms,
                "eager_ms": timings[1].compute.median_ms,
                "modes": [timing.mode for timing in timings],
                "eager_over_compiled": ratio.value,
            }
            for session in sessions:
                session.close()
            arguments.output.write_text(json.dumps(record, indent=1) + "\n")
            print(name, size, record["models"][f"{name}, batch {size}"], flush=True)


if __name__ == "__main__":
    main()
