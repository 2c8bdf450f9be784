"""The programs in C++ that check and run a plan, and plans for them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.plans import make_manifest, make_plan
from trtqat.plan.manifest import ProfileShapes, manifest_path
from trtqat.tensors import TensorSpec

ROOT = Path(__file__).parents[2]
CONSUMER = ROOT / "scripts" / "consumer"
STAND_IN = ROOT / "tests" / "data" / "tensorrt_stand_in"
COMPILER = shutil.which("g++")


def run(program: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    # The stand-in's runtime is held until the process ends.
    """Runs a program with these words and variables of the environment."""
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", **variables}
    return subprocess.run(
        [program, *map(str, words)], capture_output=True, text=True, check=False, env=environment
    )


def write_plan(folder: Path, body: bytes = b"weights", **changes: object) -> Path:
    """A file that is no engine, with the manifest of one."""
    plan = folder / "m.engine"
    content = make_plan(body=body)
    plan.write_bytes(content)
    manifest = dataclasses.replace(make_manifest(content), **changes)  # type: ignore[arg-type]
    manifest_path(plan).write_text(manifest.to_json())
    return plan


# What the stand-in's engine has: two inputs, their sum, and twice the first.
NAMED: dict[str, Any] = {
    "inputs": (TensorSpec("a", (-1, 3)), TensorSpec("b", (-1, 3))),
    "outputs": (TensorSpec("sum", (-1, 3)), TensorSpec("twice", (-1, 3))),
    "profiles": {name: ProfileShapes((1, 3), (2, 3), (4, 3)) for name in "ab"},
}


def refused(programs: Path, folder: Path, *words: object, **changes: object) -> str:
    """What ``run_plan`` says of words that it refuses."""
    plan = write_plan(folder, **{**NAMED, **changes})
    (folder / "a.bin").write_bytes(bytes(12))
    done = run(programs / "run_plan", plan, *(words or (1, folder, f"a={folder}/a.bin")))
    assert done.returncode == 2, done.stderr
    return done.stderr


def of_width(*widths: int, low: int = 1, high: int = 4) -> dict[str, ProfileShapes]:
    """A profile of both inputs, of one width or from one to another."""
    ends = ((low, widths[0]), (high // 2, widths[-1]), (high, widths[-1]))
    return {name: ProfileShapes(*ends) for name in "ab"}


SIZED: dict[str, Any] = {
    "inputs": (TensorSpec("a", (-1, -1)), TensorSpec("b", (-1, -1))),
    "outputs": (TensorSpec("sum", (-1, -1)), TensorSpec("twice", (-1, -1))),
    "profiles": of_width(3),
    "more_profiles": (of_width(6), of_width(3, 9, low=2, high=2)),
    "schema_version": 2,
}


def anchored(anchors: int, *batches: tuple[int, int, int]) -> dict[str, Any]:
    """A plan of a table of fixed size beside inputs of these batches, each of a profile."""
    table = ProfileShapes(*[(anchors, 4)] * 3)
    first, *more = (
        {"anchors": table, "x": ProfileShapes(*((each, 3) for each in triple))}
        for triple in batches
    )
    inputs = (TensorSpec("anchors", (anchors, 4)), TensorSpec("x", (-1, 3)))
    version = {"more_profiles": tuple(more), "schema_version": 2} if more else {}
    return {"inputs": inputs, "profiles": first, **version}
