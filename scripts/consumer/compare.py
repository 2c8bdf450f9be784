"""Whether ``run_plan`` computes what trtqat's own session computes, bit for bit.

On a host with a GPU, after ``compile`` has made ``run_plan``::

    python -m scripts.consumer.compare model.engine --program consumer/run_plan --batch 4

An engine whose inputs are codes gets those that the session makes of random floats. It exits with 1
if an output differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from trtqat.runtime.engine import Engine
from trtqat.search.speed.points import Point, batch_of, sizes_of
from trtqat.tensors import Arrays, random_arrays


def main() -> int:
    """Runs both on the same random inputs, and prints how many numbers differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--program", type=Path, required=True, help="run_plan, compiled.")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--shapes", help="Of a plan of several sizes, as images:4x3x48x320.")
    given = parser.parse_args()
    point: Point = given.shapes or given.batch
    sizes = sizes_of(point)
    with Engine(given.plan) as engine:
        with engine.session(batch_of(point), sizes=sizes or None) as session:
            specs = [
                replace(spec, dtype="float32") if spec.name in engine.input_scales else spec
                for spec in session.input_specs
            ]
            expected = session.run(random_arrays(specs, seed=0))
            # As the engine reads them.
            inputs = {name: buffer.copy() for name, buffer in session.inputs.items()}
        outputs = [each.name for each in engine.outputs]
    said = [f"{name}:{'x'.join(map(str, size))}" for name, size in sizes.items()]
    program = [str(given.program), str(given.plan), str(batch_of(point))]
    found = run_program(program, said, inputs, outputs, expected)
    differing = {name: differing_numbers(found[name], expected[name]) for name in outputs}
    for name, count in differing.items():
        sys.stdout.write(f"{name}: {count} of {expected[name].size} numbers differ\n")
    return int(any(differing.values()))


def differing_numbers(found: np.ndarray, expected: np.ndarray) -> int:
    """How many of them have other bytes."""
    size = expected.dtype.itemsize
    left, right = (np.frombuffer(each.tobytes(), f"V{size}") for each in (found, expected))
    return int((left != right).sum())


def run_program(
    program: list[str], sizes: list[str], inputs: Arrays, outputs: list[str], like: Arrays
) -> dict[str, np.ndarray]:
    """What ``run_plan`` writes.

    Args:
        program: The program, the plan and the batch size.
        sizes: Of one sample, as ``images:3x48x320``, where the plan has several.
        inputs: Arrays of shape ``(N, …)`` by name.
        outputs: Names in the order of the manifest.
        like: Arrays by name, whose types and shapes the outputs have.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = []
        for number, (key, array) in enumerate(inputs.items()):
            path = folder / f"input-{number}"
            np.ascontiguousarray(array).tofile(path)
            words.append(f"{key}={path}")
        subprocess.run([*program, str(folder), *words, *sizes], check=True)
        return {
            key: np.fromfile(folder / f"{number}.bin", like[key].dtype).reshape(like[key].shape)
            for number, key in enumerate(outputs)
        }


if __name__ == "__main__":
    sys.exit(main())
