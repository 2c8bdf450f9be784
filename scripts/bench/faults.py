"""Faults on purpose: damaged plans, killed processes, a full disk, no memory, two builds at once.

Needs a GPU and TensorRT for all but ``--only exports``. Writes one JSON file: for each fault how
many were tried, how each ended, and whether a traceback was seen.

    python -m scripts.bench.faults GRAPH.onnx --output scripts/results/faults.json \
        [--only plans kills] [--build-options=--tactic-sources=-cublas,-cublas-lt,-cudnn]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.bench.record import describe_run
from trtqat.errors import MissingError, PlanError
from trtqat.host.description import describe_host
from trtqat.host.preflight import preflight
from trtqat.plan.manifest import manifest_path

ROOT = Path(__file__).parents[2]

CHANGED_BYTES, TRUNCATIONS, KILLS = 1000, 100, 20
MODEL = [str(ROOT / "scripts/models/mobilenet.py") + ":qat", "--input", "images:1x3x224x224"]


class Bench:
    """What every fault needs: the graph, a folder, and a way to run the command line."""

    def __init__(self, graph: Path, work: Path, build_options: str) -> None:
        self.graph, self.work = graph, work
        self.options = shlex.split(build_options)
        self.random = random.Random(0)

    def command(self, *arguments: object) -> list[str]:
        """A ``trtqat`` command line."""
        return [sys.executable, "-m", "trtqat", *map(str, arguments)]

    def run(self, *arguments: object, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """How a command ended; options are ``subprocess.run``'s."""
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            **options,
        )
        lines = done.stderr.strip().splitlines()
        errors = [line for line in lines if line.startswith(("error", "       "))]
        return {
            "exit_code": done.returncode,
            "message": " ".join(line.strip() for line in errors) or " ".join(lines[-1:]),
            "traceback": "Traceback" in done.stderr,
        }

    def build(self, output: Path, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """How a build ended."""
        return self.run("build", self.graph, "-o", output, *self.options, **options)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder."""
        with tempfile.TemporaryDirectory(dir=self.work) as name:
            yield Path(name)


def plans(bench: Bench) -> dict[str, Any]:
    """Plans that are not what was built, with the manifest beside them or without."""
    host = describe_host()
    with bench.folder() as folder:
        sound = folder / "sound.engine"
        assert bench.build(sound)["exit_code"] == 0
        content, recorded = sound.read_bytes(), manifest_path(sound).read_bytes()
        path = folder / "m.engine"

        def checked(plan: bytes, manifest: bytes | None) -> str:
            path.write_bytes(plan)
            manifest_path(path).unlink(missing_ok=True)
            if manifest is not None:
                manifest_path(path).write_bytes(manifest)
            found = preflight(path, host)
            try:
                found.require(path)
            except (PlanError, MissingError):
                return "refused"
            flagged = any(check.status == "warning" for check in found.checks)
            return "flagged" if flagged else "accepted"

        def changed() -> bytes:
            other = bytearray(content)
            other[bench.random.randrange(len(other))] ^= 1 << bench.random.randrange(8)
            return bytes(other)

        def truncated() -> bytes:
            return content[: bench.random.randrange(len(content))]

        fields = json.loads(recorded)
        once: dict[str, tuple[bytes, bytes | None]] = {
            "the sound plan": (content, recorded),
            "empty": (b"", recorded),
            "a text file": (b"not a plan\n" * 100, recorded),
            "JSON before the plan": (b'{"stride": 32}' + content, recorded),
            "no manifest": (content, None),
            "manifest is text": (content, b"text"),
            "damaged manifest": (content, recorded.replace(b'plan_sha256": "', b'"x')),
            "manifest of another plan": (
                content,
                json.dumps({**fields, "plan_sha256": "0" * 64}).encode(),
            ),
            "manifest of a newer schema": (
                content,
                json.dumps({**fields, "schema_version": 99}).encode(),
            ),
            "manifest with unknown fields": (
                content,
                json.dumps({**fields, "of_a_later_version": 1}).encode(),
            ),
        }
        result: dict[str, Any] = {
            "plan_bytes": len(content),
            "changed bytes": Counter(checked(changed(), recorded) for _ in range(CHANGED_BYTES)),
            "truncations": Counter(checked(truncated(), recorded) for _ in range(TRUNCATIONS)),
            "changed bytes, no manifest": Counter(
                checked(changed(), None) for _ in range(CHANGED_BYTES)
            ),
            "truncations, no manifest": Counter(
                checked(truncated(), None) for _ in range(TRUNCATIONS)
            ),
        }
        for name, (plan, manifest) in once.items():
            result[name] = {
                "preflight": checked(plan, manifest),
                "eval": bench.run("eval", path, "--data", "random:8", "--duration", 0),
            }
    return result


def kills(bench: Bench, what: str, start: Callable[[Path], list[str]]) -> dict[str, Any]:
    """SIGKILL at a random moment; then the same command once more, undisturbed."""
    with bench.folder() as folder:
        begun = time.monotonic()
        first = subprocess.run(start(folder), capture_output=True, check=False)
        seconds = time.monotonic() - begun
        whole = sorted(path.name for path in folder.iterdir())
    left: Counter[str] = Counter()
    again = Counter[int]()
    for _ in range(KILLS):
        with bench.folder() as folder:
            process = subprocess.Popen(
                start(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(bench.random.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
            process.wait()
            names = sorted(path.name for path in folder.iterdir())
            left["nothing" if not names else "all files" if names == whole else str(names)] += 1
    with bench.folder() as folder:
        again[subprocess.run(start(folder), capture_output=True, check=False).returncode] += 1
    return {
        "command": what,
        "seconds_undisturbed": round(seconds, 1),
        "exit_code_undisturbed": first.returncode,
        "files": whole,
        "left_behind": left,
        "exit_code_afterwards": again,
    }


def exports(bench: Bench) -> dict[str, Any]:
    """``export`` killed; needs no GPU."""
    return kills(
        bench,
        "export",
        lambda folder: bench.command("export", *MODEL, "-o", folder / "m.onnx"),
    )


def builds(bench: Bench) -> dict[str, Any]:
    """``build`` killed."""
    return kills(
        bench,
        "build",
        lambda folder: bench.command(
            "build", bench.graph, "-o", folder / "m.engine", *bench.options
        ),
    )


def disk(bench: Bench) -> dict[str, Any]:
    """No room for the plan, and a directory that may not be written."""

    def small_files() -> None:
        # What a full disk does, for one process: the write fails.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    with bench.folder() as folder:
        full = bench.build(folder / "m.engine", preexec_fn=small_files)
        left = sorted(path.name for path in folder.iterdir())
        folder.chmod(0o555)
        # Root may write everywhere.
        nobody = {"user": 65534} if os.getuid() == 0 else {}
        read_only = bench.build(folder / "m.engine", **nobody)
        folder.chmod(0o755)
    return {"no room": {**full, "left": left}, "read-only directory": read_only}


def together(bench: Bench) -> dict[str, Any]:
    """Two builds into one file at once: the result is one of the two, whole."""
    outcomes = []
    for _ in range(3):
        with bench.folder() as folder:
            path = folder / "m.engine"
            command = bench.command("build", bench.graph, "-o", path, *bench.options)
            both = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
            codes = [process.wait() for process in both]
            outcomes.append(
                {
                    "exit_codes": codes,
                    "doctor": bench.run("doctor", path)["exit_code"],
                    "files": sorted(each.name for each in folder.iterdir()),
                }
            )
    return {"rounds": outcomes}


def memory(bench: Bench) -> dict[str, Any]:
    """Device memory that others hold, at build and at load."""
    import torch

    result = {}
    with bench.folder() as folder:
        sound = folder / "sound.engine"
        assert bench.build(sound)["exit_code"] == 0
        for left_mib in (64, 400, 700):
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info()
            held = torch.empty(free - left_mib * 2**20, dtype=torch.uint8, device="cuda")
            result[f"{left_mib} MiB left"] = {
                "build": bench.build(folder / "m.engine"),
                "eval": bench.run("eval", sound, "--data", "random:8", "--duration", 0),
                "files": sorted(path.name for path in folder.iterdir()),
            }
            del held
        # PyTorch keeps what was freed: the faults after this one need it.
        torch.cuda.empty_cache()
    return result


FAULTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "plans": plans,
    "exports": exports,
    "builds": builds,
    "disk": disk,
    "together": together,
    "memory": memory,
}


def main() -> None:
    """Tries the faults and writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--build-options", default="")
    arguments = parser.parse_args()
    # A thousand plans without a manifest are a thousand warnings.
    logging.getLogger("trtqat").addHandler(logging.NullHandler())
    logging.getLogger("trtqat").propagate = False
    record: dict[str, Any] = {
        **describe_run("faults"),
    }
    if arguments.output.exists():
        record = {**json.loads(arguments.output.read_text()), **record}
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(arguments.graph.resolve(), Path(work), arguments.build_options)
        os.chmod(work, 0o755)
        for name in arguments.only:
            begun = time.monotonic()
            record[name] = FAULTS[name](bench)
            record[name]["seconds"] = round(time.monotonic() - begun, 1)
            print(f"{name}: {json.dumps(record[name])[:1500]}", flush=True)
            arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
