"""A plan with a profile for each of several sizes: which of them runs, and what it computes.

What TensorRT 8.6 makes of one profile for many sizes is in
``test_dynamic.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.segments import Segments, quantized
from tests.support.workloads import trtqat as command
from trtqat.errors import UsageError
from trtqat.exporting.export import export
from trtqat.inspection.engine_layers import inspect_engine
from trtqat.numerics import difference
from trtqat.plan.manifest import read_manifest
from trtqat.plan.sizes import profile_names
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.search.speed.options import parse_tune_options
from trtqat.search.speed.tuning import tune

# The narrowest first, as they stand in the plan: one size alone, then ranges of batches.
SHAPES = ("images:2x3x64x256", "images:1:4:8x3x64x64", "images:1:4:8x3x64x128")
# Batch, height and width, and by which profile they run.
RUNS = ((2, 64, 256, 0), (4, 64, 64, 1), (8, 64, 64, 1), (1, 64, 128, 2))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sized") / "m.onnx"
    export(quantized(Segments), path, inputs=["images:1x3x32x64"], dynamic=["images:2,3"])
    return path


@pytest.fixture(scope="module")
def plan(graph: Path, tactic_sources: str, timing_cache: Path) -> Path:
    options = [each for shape in SHAPES for each in ("--shapes", shape)]
    if tactic_sources:
        options.append(f"--tactic-sources={tactic_sources}")
    made = graph.with_name("m.engine")
    done = command("build", graph, "-o", made, *options, "--timing-cache", str(timing_cache))
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def engine(plan: Path) -> Iterator[Engine]:
    with Engine(plan) as opened:
        yield opened


def images(batch: int, height: int, width: int) -> dict[str, Any]:
    drawn = np.random.default_rng(width).normal(size=(batch, 3, height, width))
    return {"images": drawn.astype(np.float32)}


def test_each_size_runs_by_its_profile_and_computes_what_the_graph_does(
    engine: Engine, graph: Path
) -> None:
    assert engine.profiles.names == SHAPES
    with OnnxModel(graph, as_written=True) as reference:
        for batch, height, width, index in RUNS:
            inputs = images(batch, height, width)
            with engine.session(batch, sizes={"images": (3, height, width)}) as session:
                assert session.profile == session.context.active_optimization_profile == index
                assert session.mode == "CUDA graph"
                found = session.run(inputs)
            with reference.session(batch) as expected:
                wanted = expected.run(inputs)
            assert found["classes"].shape == (batch, 4, height, width)
            for name, array in wanted.items():
                assert difference(found[name], array).sqnr_db > 25, (name, width)


def test_sessions_of_several_sizes_at_once(engine: Engine) -> None:
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(engine.session(batch, sizes={"images": (3, height, width)}))
            for batch, height, width, _ in RUNS
        ]
        inputs = [images(*run[:3]) for run in RUNS]
        alone = [session.run(each) for session, each in zip(sessions, inputs, strict=True)]
        for _ in range(3):
            for session, each, before in zip(sessions, inputs, alone, strict=True):
                for name, array in session.run(each).items():
                    np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(("width", "batch"), [(64, 4), (128, 8), (256, 2)])
def test_an_evaluation_is_at_the_size_of_its_data(
    plan: Path, tmp_path: Path, width: int, batch: int
) -> None:
    np.savez(tmp_path / "d.npz", **images(batch + 1, 64, width))
    done = command(
        *("eval", plan, "--data", f"npz:{tmp_path / 'd.npz'}", "--batch-size", str(batch)),
        *("--duration", "0.2", "--reference", "--min-sqnr-db", "25", "--json", "-"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == batch + 1


def test_locating_is_at_the_size_of_the_data(
    plan: Path, tmp_path: Path, timing_cache: Path
) -> None:
    """The engine that is built again, with its INT8 tensors as outputs, has the same profiles."""
    np.savez(tmp_path / "d.npz", **images(4, 64, 128))
    done = command(
        *("eval", plan, "--data", f"npz:{tmp_path / 'd.npz'}", "--batch-size", "4"),
        *("--duration", "0", "--locate", "--timing-cache", timing_cache),
    )
    assert done.returncode == 0, done.stderr


def test_a_size_in_no_profile_is_refused_with_all_of_them(
    plan: Path, engine: Engine, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="profile 0 for images:2x3x64x256, profile 1 for"):
        engine.session(4, sizes={"images": (3, 64, 96)})
    np.savez(tmp_path / "d.npz", **images(2, 64, 96))
    done = command("eval", plan, "--data", f"npz:{tmp_path / 'd.npz'}", "--duration", "0")
    assert done.returncode == 2
    assert "images 3x64x96 is in no profile" in done.stderr


def test_the_inspector_tells_the_profiles_apart(plan: Path, engine: Engine) -> None:
    for index, width in enumerate((256, 64, 128)):
        found = inspect_engine(engine, profile=index)
        assert found.sizes == {"images": (3, 64, width)}
        # A layer that is listed twice would be one of another profile.
        names = [layer.name for layer in found.layers]
        assert len(set(names)) == len(names) > 0
    manifest = read_manifest(plan)
    assert manifest is not None
    assert profile_names(manifest.all_profiles) == SHAPES
    assert manifest.coverage is not None
    assert manifest.coverage.profiles == SHAPES
    assert manifest.coverage.missed == ()
    done = command("inspect", plan, "--shapes", "images:3x3x64x128", "--passes", "3", "--json", "-")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["batch_size"], record["sizes"]) == (3, {"images": [3, 64, 128]})
    assert {layer["name"] for layer in record["layers"]} == set(record["layer_times_ms"])


def test_tuning_measures_each_size(
    graph: Path, tmp_path: Path, tactic_sources: str, timing_cache: Path
) -> None:
    ranges = SHAPES[1:]
    options = parse_tune_options(
        shapes=ranges, most_builds=4, tactic_sources=tactic_sources, timing_cache=timing_cache
    )
    result = tune(graph, tmp_path / "tuned.onnx", options)
    points = {"images:4x3x64x64", "images:4x3x64x128"}
    assert {"INT8 as exported", "FP16"} <= {each.name for each in result.verdict}
    for each in result.verdict:
        assert set(each.times) == points
        assert all(time.median_ms > 0 for time in each.times.values())
    with Engine(result.plan) as engine:
        for batch, width in ((1, 64), (8, 128)):
            with engine.session(batch, sizes={"images": (3, 64, width)}) as session:
                session.run(images(batch, 64, width))
