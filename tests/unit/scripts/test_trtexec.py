"""scripts.bench.trtexec: how it is called, what is read of it, and what it may refuse."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.bench.trtexec import (
    BesideTrtexec,
    Query,
    TrtexecError,
    beside_trtexec,
    median_ms,
    reason_in,
    run_trtexec,
    version_of,
)
from tests.support.plans import make_plan
from trtqat.tensors import Array

# As releases print it, shortened.
OF_8_6 = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v8600] # trtexec --loadEngine=m.engine --useCudaGraph
[11/27/2026-10:00:00] [I] === Model Options ===
[11/27/2026-10:00:03] [I] Average on 10 runs - GPU latency: 0.7311 ms - Host latency: 0.7311 ms
[11/27/2026-10:00:06] [I] === Performance summary ===
[11/27/2026-10:00:06] [I] Throughput: 1391.05 qps
[11/27/2026-10:00:06] [I] Latency: min = 0.713867 ms, max = 0.74707 ms, mean = 0.718117 ms, \
median = 0.717773 ms, percentile(90%) = 0.719727 ms, percentile(99%) = 0.724609 ms
[11/27/2026-10:00:06] [I] Enqueue Time: min = 0.00488281 ms, max = 0.032 ms, mean = 0.0055 ms, \
median = 0.00512695 ms, percentile(90%) = 0.006 ms
[11/27/2026-10:00:06] [I] H2D Latency: min = 0 ms, max = 0 ms, mean = 0 ms, median = 0 ms
[11/27/2026-10:00:06] [I] GPU Compute Time: min = 0.713867 ms, max = 0.74707 ms, mean = 0.718 ms, \
median = 0.717285 ms, percentile(90%) = 0.719727 ms, percentile(95%) = 0.72 ms
[11/27/2026-10:00:06] [I] Total GPU Compute Time: 2.99814 s
[11/27/2026-10:00:06] [W] * GPU compute time is unstable, with coefficient of variance = 2.9%.
&&&& PASSED TensorRT.trtexec [TensorRT v8600] # trtexec --loadEngine=m.engine --useCudaGraph
"""
REFUSED = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --loadEngine=m.engine
[11/27/2026-10:00:01] [E] Error[1]: [stdArchiveReader.cpp::stdArchiveReaderInitCommon::47] Error \
Code 1: Serialization (Serialization assertion stdVersionRead == serializationVersion failed.)
[11/27/2026-10:00:01] [E] Engine deserialization failed
&&&& FAILED TensorRT.trtexec [TensorRT v100300] # trtexec --loadEngine=m.engine
"""


def test_the_median_of_each_release() -> None:
    assert median_ms(OF_8_6, "") == 0.717285
    of_10 = OF_8_6.replace("[TensorRT v8600]", "[TensorRT v101303] [b9]")
    assert median_ms(of_10, "") == 0.717285
    assert (version_of(OF_8_6), version_of(of_10)) == ("8.6.0", "10.13.3")
    assert median_ms("GPU Compute: min = 1 ms, max = 2 ms, median = 1e-01 ms", "") == 0.1
    assert version_of("&&&& RUNNING TensorRT.trtexec # trtexec") == ""


def test_exported_times_are_taken_where_it_does_not_say_it() -> None:
    times = json.dumps([{"computeMs": each, "latencyMs": 9} for each in (0.3, 0.1, 0.2, 0.4)])
    assert median_ms("nothing", times) == pytest.approx(0.25)
    assert median_ms(OF_8_6, times) == 0.717285


@pytest.mark.parametrize("exported", ["", "[]", "{", '[{"latencyMs": 1}]', "[1]", "3"])
def test_no_time_is_an_error(exported: str) -> None:
    with pytest.raises(TrtexecError, match="says nothing"):
        median_ms("[I] H2D Latency: min = 0 ms, max = 0 ms, median = 0.5 ms", exported)


def test_the_reason_is_its_first_error() -> None:
    assert reason_in(REFUSED).startswith("Error[1]: [stdArchiveReader")
    assert reason_in(OF_8_6) == ""


PROGRAM = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
options = dict(each.split("=", 1) if "=" in each else (each, "") for each in sys.argv[1:])
files = dict(each.rsplit(":", 1) for each in options["--loadInputs"].split(","))
record = folder / "calls.json"
calls = json.loads(record.read_text()) if record.exists() else []
sizes = {{name: pathlib.Path(path).stat().st_size for name, path in files.items()}}
record.write_text(json.dumps([*calls, {{"options": options, "sizes": sizes}}]))
sys.stdout.write((folder / "output").read_text())
sys.exit({code})
"""


def make_program(folder: Path, output: str, code: int = 0) -> Path:
    """A trtexec that says what it is told to, and keeps how it was called."""
    (folder / "output").write_text(output)
    program = folder / "trtexec"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder), code=code))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def query(tmp_path: Path) -> Query:
    plan = tmp_path / "m.engine"
    plan.write_bytes(make_plan())
    inputs: dict[str, Array] = {
        "images": np.ones((4, 3, 2, 2), np.int8),
        "scale:0": np.ones((4, 5), np.float32),
    }
    return Query(plan, inputs, frozenset({"images"}))


def calls_of(folder: Path) -> list[dict[str, dict[str, object]]]:
    found: list[dict[str, dict[str, object]]] = json.loads((folder / "calls.json").read_text())
    return found


def test_it_runs_quietly_on_our_inputs(query: Query, tmp_path: Path) -> None:
    run = run_trtexec(make_program(tmp_path, OF_8_6), query, 1.5)
    assert (run.version, run.compute_ms) == ("8.6.0", 0.717285)
    (call,) = calls_of(tmp_path)
    options = call["options"]
    assert options["--loadEngine"] == str(query.plan)
    assert {"--useCudaGraph", "--noDataTransfers", "--useSpinWait"} <= set(options)
    assert options["--duration"] == "1.5"
    # What is not open must not be given a shape.
    assert options["--shapes"] == "images:4x3x2x2"
    assert call["sizes"] == {"images": 48, "'scale:0'": 80}
    assert "--useProfile" not in options


def test_another_profile_is_named(query: Query, tmp_path: Path) -> None:
    asked = Query(query.plan, query.inputs, frozenset(), profile=2)
    run_trtexec(make_program(tmp_path, OF_8_6), asked, 1)
    (call,) = calls_of(tmp_path)
    assert call["options"]["--useProfile"] == "2"
    assert "--shapes" not in call["options"]


def test_in_turns_with_ours(query: Query, tmp_path: Path) -> None:
    program, ours = make_program(tmp_path, OF_8_6), iter([0.72, 0.73, 0.71])
    found = beside_trtexec(program, query, 1, lambda: next(ours))
    assert found == BesideTrtexec("8.6.0", (0.72, 0.73, 0.71), (0.717285,) * 3)
    assert len(calls_of(tmp_path)) == 3
    assert found.difference_percent == pytest.approx(100 * (0.72 / 0.717285 - 1))
    assert found.difference_of(0.717285 * 1.03) == pytest.approx(3)


def test_a_plan_that_it_refuses(query: Query, tmp_path: Path) -> None:
    with pytest.raises(TrtexecError, match=r"of TensorRT 10\.3\.0 does not run the plan: Error"):
        run_trtexec(make_program(tmp_path, REFUSED, code=1), query, 1)
    # Some releases fail, and return 0.
    with pytest.raises(TrtexecError, match="does not run the plan"):
        run_trtexec(make_program(tmp_path, REFUSED), query, 1)
    with pytest.raises(TrtexecError, match="exit code 7"):
        run_trtexec(make_program(tmp_path, "", code=7), query, 1)


def test_a_program_that_is_none(query: Query, tmp_path: Path) -> None:
    with pytest.raises(TrtexecError, match="cannot be started: No such file"):
        run_trtexec(tmp_path / "nowhere", query, 1)
    with pytest.raises(TrtexecError, match="cannot be started: Permission denied"):
        run_trtexec(query.plan, query, 1)


def test_another_release_is_no_comparison(query: Query, tmp_path: Path) -> None:
    program = make_program(tmp_path, OF_8_6.replace("v8600", "v100300"))
    with pytest.raises(
        TrtexecError, match=r"TensorRT 10\.3\.0, and 'm.engine' of TensorRT 8\.6\.0"
    ):
        beside_trtexec(program, query, 1, lambda: 1.0)
    # Built of the public source of another patch, with the library of this one.
    beside_trtexec(make_program(tmp_path, OF_8_6.replace("v8600", "v8601")), query, 1, lambda: 1.0)
