"""The roofline of a real engine on the GPU that runs it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.gpu.workloads import Artefacts, trtqat


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
    assert 0.05 < found["share"] < 1.2
    assert len(found["largest_gaps"]) == 5
    # The second time they are read, and the words are for a terminal.
    before = limits.read_bytes()
    done = trtqat(*command)
    assert done.returncode == 0, done.stderr
    assert "of the limit is reached" in done.stdout
    assert limits.read_bytes() == before
