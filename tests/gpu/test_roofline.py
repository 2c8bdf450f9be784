"""The roofline of a real engine on the GPU that runs it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.workloads import Artefacts, trtqat


def test_roofline(vgg: Artefacts, tmp_path: Path) -> None:
    graph, plan, _ = vgg
    limits = tmp_path / "ceilings.json"
    command = ["inspect", plan, "--graph", graph, "--roofline", "--ceilings", limits]
    done = trtqat(*command, "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["roofline"]
    # No GPU that builds INT8 engines does less than 10 TOPS, or more than 100,000.
    assert 1e13 < found["ceilings"]["int8_ops_per_s"] < 1e17
    assert found["ceilings"]["fp16_ops_per_s"] < found["ceilings"]["int8_ops_per_s"]
    assert 1e11 < found["ceilings"]["bytes_per_s"] < 1e14
    assert 0 < found["network_floor_ms"] <= found["floor_ms"]
    # Between two layers the cache may be faster than memory, so a little above 1 is possible.
    assert 0.05 < found["share"] < 1.05
    assert 0 < found["floor_ms"] <= found["compute_ms"] * 1.05
    assert found["uncounted"] == []
    assert len(found["largest_gaps"]) == 5
    # The second time they are read, and the words are for a terminal.
    before = limits.read_bytes()
    done = trtqat(*command)
    assert done.returncode == 0, done.stderr
    assert "of the limit is reached" in done.stdout
    assert limits.read_bytes() == before


def test_roofline_of_exported_files(vgg: Artefacts, tmp_path: Path) -> None:
    """What is exported here is enough for a host without a GPU."""
    graph, plan, _ = vgg
    layers, profile, limits = (tmp_path / f"{name}.json" for name in ("layers", "times", "limits"))
    done = trtqat(
        "inspect", plan, "--graph", graph, "--roofline", "--ceilings", limits, "--json", "-",
        "--batch-size", 8, "--export-layer-info", layers, "--export-profile", profile,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = json.loads(done.stdout)["roofline"]
    done = trtqat(
        "inspect", layers, "--graph", graph, "--roofline", "--ceilings", limits, "--json", "-",
        "--profile", profile,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)["roofline"]
    assert there["batch_size"] == 8
    # Only the time of the whole engine is in none of the files.
    assert here["compute_ms"] > 0
    assert there == {**here, "compute_ms": None, "share": None}


def test_no_times_no_roofline(vgg: Artefacts) -> None:
    graph, plan, _ = vgg
    done = trtqat("inspect", plan, "--graph", graph, "--roofline", "--passes", 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no times for a roofline" in done.stderr
