"""scripts.bench.offline on a tiny model: every figure is measured, and they fit together.

Written before it was run.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import models
from tests.support.workloads import ROOT
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx


def offline(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.bench.offline", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


@pytest.fixture(scope="module")
def figures(
    tmp_path_factory: pytest.TempPathFactory, tactic_sources: str, timing_cache: Path
) -> tuple[Path, dict[str, Any], str]:
    """The plan that was built of a graph that takes codes, the file, and what was printed."""
    folder = tmp_path_factory.mktemp("offline")
    example, graph = models.EXAMPLES["residual"], folder / "m.onnx"
    export_onnx(example.qat(), graph, ExportOptions(example.inputs, quantized_input=True))
    output = folder / "figures.json"
    done = offline(
        graph, "--batch", "4,32", "--work", folder, "--repeats", 3, "--seconds", 0.1,
        "--json", output, f"--tactic-sources={tactic_sources}", "--timing-cache", timing_cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "m.engine", json.loads(output.read_text()), done.stdout


def test_all_is_measured(figures: tuple[Path, dict[str, Any], str]) -> None:
    _, record, printed = figures
    assert record["environment"]["gpu"]["name"]
    assert record["plan_bytes"] > 1000
    assert [row["batch_size"] for row in record["batches"]] == [4, 32]
    for row in record["batches"]:
        assert row["mode"] == "CUDA graph"
        assert row["in_flight"] == 4
        for name in ("compute_ms", "h2d_ms", "d2h_ms", "launch_ms", "images_per_second"):
            assert 0 < row[name]["min"] <= row[name]["median"] <= row[name]["max"], name
        # No bus is as fast as memory, and a small copy takes microseconds.
        assert 0 < row["h2d_gb_per_second"] < 1000
        # Small kernels of one stream do not overlap; launches may hide behind each other.
        ceilings = [row[f"{name}_images_per_second"] for name in ("gpu", "bus", "host")]
        assert row["images_per_second"]["median"] < 1.3 * min(ceilings)
        assert row["limit"] in ("GPU", "bus", "host", "none alone")
        assert f"| {row['batch_size']} |" in printed


def test_codes_are_a_byte_each(figures: tuple[Path, dict[str, Any], str]) -> None:
    _, record, _ = figures
    image = math.prod(models.EXAMPLES["residual"].inputs[0].shape[1:])
    for row in record["batches"]:
        assert row["input_bytes"] == row["batch_size"] * image


def test_each_batch_has_its_profile(figures: tuple[Path, dict[str, Any], str]) -> None:
    plan, record, _ = figures
    assert [row["profile"] for row in record["batches"]] == [0, 1]
    done = offline(plan, "--batch", "4,5")
    assert done.returncode == 2
    assert "takes batches of 4 and 32, not 5" in done.stderr
