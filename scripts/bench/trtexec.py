"""NVIDIA's trtexec on a plan of ours, for whoever has one: its GPU compute time beside ours.

It runs as it is quietest: a CUDA graph, no transfers, spinning; with our inputs. A trtexec of 8.6
knows only the first shape profile of a plan.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trtqat.errors import TrtqatError
from trtqat.plan.header import read_plan
from trtqat.tensors import Arrays

# A trtexec that loads a plan, warms up and measures for some seconds is done long before.
_LIMIT_S = 300
_TURNS = 3
_QUIET = ("--useCudaGraph", "--noDataTransfers", "--useSpinWait")
# From 7.1 on: one line; 7.0 and before had one for each figure.
_SUMMARY = re.compile(r"GPU Compute(?: Time)?: .*?\bmedian = ([0-9.]+(?:e[-+]?\d+)?) ms")
_VERSION = re.compile(r"TensorRT\.trtexec \[TensorRT v(\d+)\]")
_ERROR = re.compile(r"\[E\]\s*(.+)")


class TrtexecError(TrtqatError):
    """A trtexec that does not run the plan, or says nothing of its time."""


@dataclass(frozen=True)
class TrtexecRun:
    """What one run said.

    Attributes:
        version: Of its TensorRT, as ``"8.6.0"``; empty if it does not say.
        compute_ms: Median of its GPU compute time.
    """

    version: str
    compute_ms: float


@dataclass(frozen=True)
class Query:
    """What trtexec shall run.

    Attributes:
        plan: The plan.
        inputs: What it reads, ``(N, …)`` by name, of the types that the plan has.
        open_inputs: Names of those whose shape the plan leaves open.
        profile: Index of the shape profile that holds these shapes.
    """

    plan: Path
    inputs: Arrays
    open_inputs: frozenset[str]
    profile: int = 0


@dataclass(frozen=True)
class BesideTrtexec:
    """Ours and trtexec's GPU compute time of one plan, in turns.

    Attributes:
        version: Of its TensorRT.
        ours_ms: Median of each turn.
        trtexec_ms: Median of each turn, as trtexec says it.
    """

    version: str
    ours_ms: tuple[float, ...]
    trtexec_ms: tuple[float, ...]

    @property
    def difference_percent(self) -> float:
        """By how much ours is longer; of the medians over the turns."""
        return self.difference_of(statistics.median(self.ours_ms))

    def difference_of(self, ours_ms: float) -> float:
        """By how much another time of ours is longer, in percent.

        Args:
            ours_ms: The time.
        """
        return 100 * (ours_ms / statistics.median(self.trtexec_ms) - 1)


def beside_trtexec(
    program: Path, query: Query, seconds: float, ours: Callable[[], float]
) -> BesideTrtexec:
    """Measures in turns, so that the clock's drift hits both.

    Args:
        program: trtexec.
        query: What it shall run.
        seconds: How long it measures, each time.
        ours: Measures our median in ms.

    Raises:
        TrtexecError: It cannot be started, fails, does not say its time, or is of another release
            than the plan.
    """
    turns = []
    for _ in range(_TURNS):
        run = run_trtexec(program, query, seconds)
        _check_version(program, query.plan, run.version)
        turns.append((ours(), run.compute_ms))
    mine, theirs = zip(*turns, strict=True)
    return BesideTrtexec(run.version, mine, theirs)


def _check_version(program: Path, plan: Path, version: str) -> None:
    """Refuses figures of another TensorRT than the plan's, as version-compatible ones have.

    A trtexec that is built of public source may be of another patch than its library.
    """
    made_for = ".".join(map(str, read_plan(plan)[1].version))
    if version and version.split(".")[:2] != made_for.split(".")[:2]:
        raise TrtexecError(
            f"'{program}' is of TensorRT {version}, and '{plan.name}' of TensorRT {made_for}."
        )


def run_trtexec(program: Path, query: Query, seconds: float) -> TrtexecRun:
    """Times one plan.

    Args:
        program: trtexec.
        query: What it shall run.
        seconds: How long it measures.

    Raises:
        TrtexecError: It cannot be started, fails, or does not say its time.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for index, (name, array) in enumerate(query.inputs.items()):
            files[name] = Path(folder, f"input{index}")
            array.tofile(files[name])
        times = Path(folder, "times.json")
        shapes = {
            name: "x".join(map(str, array.shape))
            for name, array in query.inputs.items()
            if name in query.open_inputs
        }
        output = _output_of(
            [
                str(program),
                f"--loadEngine={query.plan}",
                *_QUIET,
                f"--duration={seconds:g}",
                f"--exportTimes={times}",
                f"--loadInputs={_listed(files)}",
                *([f"--shapes={_listed(shapes)}"] if shapes else []),
                *([f"--useProfile={query.profile}"] if query.profile else []),
            ]
        )
        exported = times.read_text(encoding="utf-8") if times.is_file() else ""
    return TrtexecRun(version_of(output), median_ms(output, exported))


def _listed(values: Mapping[str, object]) -> str:
    """As its options take several things by name; a name with a colon stands in quotes."""
    return ",".join(
        f"'{name}':{value}" if ":" in name else f"{name}:{value}" for name, value in values.items()
    )


def _output_of(command: list[str]) -> str:
    """All that it prints.

    Raises:
        TrtexecError: It cannot be started, does not end, or fails.
    """
    program = command[0]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=_LIMIT_S,
            check=False,
        )
    except OSError as error:
        raise TrtexecError(f"'{program}' cannot be started: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise TrtexecError(f"'{program}' was not done within {_LIMIT_S} s.") from error
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode or "&&&& FAILED" in output:
        version = version_of(output)
        raise TrtexecError(
            f"'{program}'{f' of TensorRT {version}' if version else ''} does not run the plan: "
            f"{reason_in(output) or f'exit code {done.returncode}'}."
        )
    return output


def version_of(output: str) -> str:
    """The version in its first line, as ``"8.6.0"`` of v8600 and ``"10.3.0"`` of v100300.

    Args:
        output: What it printed.
    """
    found = _VERSION.search(output)
    if found is None:
        return ""
    number = int(found[1])
    major = 10000 if number >= 10000 else 1000
    return f"{number // major}.{number % major // 100}.{number % 100}"


def reason_in(output: str) -> str:
    """Its first error, which the later ones follow from; empty if there is none.

    Args:
        output: What it printed.
    """
    found = _ERROR.search(output)
    return found[1].strip().rstrip(".") if found else ""


def median_ms(output: str, exported: str) -> float:
    """Median of the GPU compute time: its own, or else that of the times that it exported.

    Args:
        output: What it printed.
        exported: The file of ``--exportTimes``; empty if there is none. Older releases write the
            warm-up into it, so it comes second.

    Raises:
        TrtexecError: Neither says it.
    """
    if found := _SUMMARY.search(output):
        return float(found[1])
    try:
        return statistics.median(float(query["computeMs"]) for query in json.loads(exported))
    # No JSON, another form, or no query in it.
    except (ValueError, KeyError, TypeError) as error:
        raise TrtexecError("trtexec says nothing of its GPU compute time.") from error
