"""Open height and width: one engine, at the size of each data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.segments import Segments, quantized
from tests.support.workloads import trtqat
from trtqat.exporting.export import export
from trtqat.runtime.engine import Engine

SHAPES = ("min", "1x3x32x32"), ("opt", "4x3x64x128"), ("max", "8x3x256x512")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, tactic_sources: str) -> Path:
    folder = tmp_path_factory.mktemp("dynamic")
    graph, plan = folder / "m.onnx", folder / "m.engine"
    export(quantized(Segments), graph, inputs=["images:1x3x32x64"], dynamic=["images:2,3"])
    options = [each for name, shape in SHAPES for each in (f"--{name}-shapes", f"images:{shape}")]
    if tactic_sources:
        options.append(f"--tactic-sources={tactic_sources}")
    done = trtqat("build", graph, "-o", plan, *options)
    assert done.returncode == 0, done.stderr
    return plan


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 128), (96, 160), (256, 512)])
def test_it_runs_at_the_size_of_the_data(
    plan: Path, tmp_path: Path, height: int, width: int
) -> None:
    drawn = np.random.default_rng(height).normal(size=(6, 3, height, width))
    np.savez(tmp_path / "d.npz", images=drawn.astype(np.float32))
    report = tmp_path / "r.json"
    options = ("--batch-size", "4", "--duration", "0.2", "--reference", "--min-sqnr-db", "25")
    data = f"npz:{tmp_path / 'd.npz'}"
    done = trtqat("eval", plan, "--data", data, *options, "--json", report)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["images"] == 6


def test_random_data_is_of_the_size_that_it_was_tuned_for(plan: Path) -> None:
    done = trtqat("eval", plan, "--data", "random:8", "--batch-size", "4", "--duration", "0.2")
    assert done.returncode == 0, done.stderr


def test_a_size_that_it_was_not_built_for(plan: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 3, 512, 512), np.float32))
    done = trtqat("eval", plan, "--data", f"npz:{tmp_path / 'd.npz'}", "--duration", "0")
    assert done.returncode == 2
    assert "takes 3x32x32 to 3x256x512, not 3x512x512" in done.stderr


def test_sessions_of_several_sizes(plan: Path) -> None:
    with Engine(plan) as engine:
        for height, width in ((64, 64), (128, 32)):
            engine.choose_sizes({"images": (3, height, width)})
            with engine.session(2) as session:
                images = np.ones((2, 3, height, width), np.float32)
                assert session.run({"images": images})["classes"].shape == (2, 4, height, width)
