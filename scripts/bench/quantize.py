"""What it costs the host to quantize floats for an engine that takes INT8 codes.

Images of 224x224 a second in batches of 32, from several threads at once as queries in flight are:
copied as floats, quantized by ONNX Runtime, and by NumPy. Needs no GPU.

    python -m scripts.bench.quantize --output scripts/results/quantize.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scripts.bench.record import describe_run
from trtqat.host.environment import describe_environment
from trtqat.runtime.host_quantizer import open_quantizer
from trtqat.tensors import Array

SHAPE = (32, 3, 224, 224)
SCALE = 0.04


def images_per_second(step: Callable[[Array, Array], None], out: Array, threads: int) -> float:
    """Of threads that each have an input and an output of their own."""
    inputs = [
        np.random.default_rng(seed).standard_normal(SHAPE, np.float32) for seed in range(threads)
    ]
    outputs = [np.empty_like(out) for _ in inputs]
    end = time.perf_counter() + 1

    def keep_busy(index: int) -> tuple[int, float]:
        step(inputs[index], outputs[index])
        begin, count = time.perf_counter(), 0
        while time.perf_counter() < end:
            step(inputs[index], outputs[index])
            count += 1
        return count, time.perf_counter() - begin

    with ThreadPoolExecutor(threads) as pool:
        rates = [count / seconds for count, seconds in pool.map(keep_busy, range(threads))]
    return SHAPE[0] * sum(rates)


def main() -> None:
    """Measures, writes the file, and prints a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 6, 8])
    arguments = parser.parse_args()
    floats, codes = np.empty(SHAPE, np.float32), np.empty(SHAPE, np.int8)
    ways: dict[str, tuple[Callable[[Array, Array], None], Array]] = {
        "copied as floats": (lambda x, out: np.copyto(out, x), floats),
        "ONNX Runtime": (open_quantizer(SCALE), codes),
        "NumPy": (open_quantizer(SCALE, numpy_only=True), codes),
    }
    found = {
        name: {count: images_per_second(step, out, count) for count in arguments.threads}
        for name, (step, out) in ways.items()
    }
    record = {
        **describe_run("quantize"),
        "environment": asdict(describe_environment(with_gpu=False)),
        "images_per_second": found,
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    for name, rates in found.items():
        print(f"{name:16}", *(f"{count}: {rate:8,.0f}" for count, rate in rates.items()))


if __name__ == "__main__":
    main()
