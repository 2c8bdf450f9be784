"""One graph, three plans, every TensorRT runtime at hand; and what a timing cache saves.

The plans: plain, version-compatible, and version-compatible without its lean runtime. Each runs
on each runtime in a process of its own, with and without the permission for code in the plan.
Needs a GPU and the full TensorRT; other runtimes lie in directories for PYTHONPATH.

    python -m scripts.bench.shipping GRAPH.onnx --data cifar10:DIR \
        --output scripts/results/shipping.json --runtime full --runtime lean=DIR/lean/10.16
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.bench.record import describe_run

ROOT = Path(__file__).parents[2]
PLANS = {
    "plain": [],
    "version-compatible": ["--version-compatible"],
    "without lean runtime": ["--version-compatible", "--exclude-lean-runtime"],
}


def trtqat(*arguments: object, path: str = "") -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON result and error of a command, with ``path`` first on PYTHONPATH."""
    paths = [each for each in (path, str(ROOT)) if each]
    done = subprocess.run(
        [sys.executable, "-m", "trtqat", *map(str, arguments), "--json", "-"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    result = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    return done.returncode, result, done.stderr


def first_error(stderr: str) -> str:
    """The sentence of an error, or the last line."""
    lines = stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("error")]
    return (errors or lines[-1:] or [""])[0].removeprefix("error: ")


def main() -> None:
    """Builds, runs, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--runtime", action="append", required=True, metavar="FLAVOUR[=DIR]")
    parser.add_argument("--build-options", default="")
    arguments = parser.parse_args()
    options = shlex.split(arguments.build_options)
    record: dict[str, Any] = {
        **describe_run("shipping"),
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        record["timing_cache"] = [
            time_build(arguments.graph, work, options) for _ in ("first", "second")
        ]
        record["plans"] = {}
        for plan, extra in PLANS.items():
            path = work / f"{plan.replace(' ', '-')}.engine"
            code, built, errors = trtqat("build", arguments.graph, "-o", path, *extra, *options)
            error = first_error(errors) if code else ""
            record["plans"][plan] = {
                "exit_code": code,
                "error": error,
                "header": path.read_bytes()[:28].hex(" ") if path.exists() else "",
                "manifest": built.get("manifest"),
            }
            print(plan, code, error, flush=True)
        record["runs"] = [
            run(work / f"{plan.replace(' ', '-')}.engine", plan, runtime, arguments.data, allow)
            for plan in PLANS
            for runtime in arguments.runtime
            for allow in (False, True)
        ]
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


def time_build(graph: Path, work: Path, options: list[str]) -> dict[str, Any]:
    """One build in a process of its own with the cache of the one before."""
    cache = work / "timings.cache"
    begun = time.monotonic()
    code, built, _ = trtqat(
        "build", graph, "-o", work / "cached.engine", "--timing-cache", cache, *options
    )
    figures = {
        "exit_code": code,
        "process_seconds": round(time.monotonic() - begun, 2),
        "build_seconds": built.get("manifest", {}).get("build_seconds"),
        "cache_bytes": cache.stat().st_size if cache.exists() else 0,
    }
    print("timing cache", figures, flush=True)
    return figures


def run(path: Path, plan: str, runtime: str, data: str, allow: bool) -> dict[str, Any]:
    """One plan on one runtime, and what doctor says of it there."""
    flavour, _, folder = runtime.partition("=")
    permission = ["--allow-engine-code"] if allow else []
    code, report, errors = trtqat(
        "eval", path, "--data", data, "--runtime", flavour, "--duration", 1, *permission,
        path=folder,
    )  # fmt: skip
    doctor, checks, _ = trtqat("doctor", path, "--runtime", flavour, path=folder)
    tensorrt = [c for c in checks.get("checks", []) if c["name"] == "TensorRT"]
    contenders = report.get("contenders", [])
    model: dict[str, Any] = next((each for each in contenders if each["role"] == "subject"), {})
    timing: dict[str, Any] = next((each["timing"] for each in model.get("timings", [])), {})
    outcome: dict[str, Any] = {
        "plan": plan,
        "runtime": runtime,
        "allow_engine_code": allow,
        "exit_code": code,
        "error": first_error(errors) if code else "",
        "traceback": "Traceback" in errors,
        "doctor": doctor,
        "tensorrt": tensorrt[0]["finding"] if tensorrt else "",
        "top1": (model.get("accuracy") or {}).get("top1"),
        "images": report.get("images"),
        "compute_ms": timing.get("compute", {}).get("median_ms"),
        "mode": timing.get("mode"),
    }
    print(
        f"{plan:21} {runtime[-30:]:30} code {'allowed' if allow else 'refused'}: "
        f"exit {code}, doctor {doctor}, top-1 {outcome['top1']}, {outcome['compute_ms']} ms "
        f"{outcome['error'][:160]}",
        flush=True,
    )
    return outcome


if __name__ == "__main__":
    main()
