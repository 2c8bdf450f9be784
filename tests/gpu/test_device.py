"""Which GPU: by the command line, in processes of their own. A host with one GPU has number 0."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.support.rtx_plans import write_graph
from tests.support.workloads import trtqat


def test_the_choice_is_recorded(tmp_path: Path) -> None:
    """Of the last GPU."""
    number = torch.cuda.device_count() - 1
    graph, plan = write_graph(tmp_path), tmp_path / "m.engine"
    done = trtqat("build", graph, "-o", plan, "--device", number)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "m.engine.json").read_text())["device"] == number
    report = tmp_path / "r.json"
    data = ("--data", "random:8", "--batch-size", "1", "--duration", "0.2", "--json", report)
    done = trtqat("eval", plan, *data, "--device", number)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["environment"]["device"] == number
    assert trtqat("inspect", plan, "--device", number).returncode == 0


def test_one_that_is_not_there(tmp_path: Path) -> None:
    graph = write_graph(tmp_path)
    done = trtqat("build", graph, "-o", tmp_path / "m.engine", "--device", "99")
    assert done.returncode == 2
    assert "--device 99 names no GPU; there" in done.stderr
    assert not (tmp_path / "m.engine").exists()
