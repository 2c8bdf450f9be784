"""Several shape profiles in one plan: which of them runs, what it computes, and what is INT8 in it.

Written before it was run: what TensorRT's inspector lists of several profiles was only read of.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.support import models
from tests.support.workloads import trtqat
from trtqat.data.dataset import open_dataset
from trtqat.errors import UsageError
from trtqat.evaluation.running import run_models
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.inspection.engine_layers import inspect_engine
from trtqat.numerics import difference
from trtqat.plan.manifest import read_manifest
from trtqat.plan.profiles import batches_of
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.protocol import Model
from trtqat.tensors import Arrays, random_arrays

SIZES = (1, 4, 8)


@pytest.fixture(scope="module")
def options(tactic_sources: str, timing_cache: Path) -> list[str]:
    sources = [f"--tactic-sources={tactic_sources}"] if tactic_sources else []
    return [*sources, "--timing-cache", str(timing_cache)]


@pytest.fixture(scope="module", params=["residual", "attention"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network, and one that 8.6 compiles into a subgraph."""
    example = models.EXAMPLES[request.param]
    path = tmp_path_factory.mktemp(request.param) / "m.onnx"
    export_onnx(example.qat(), path, ExportOptions(example.inputs))
    return path


def built(graph: Path, name: str, batch: str, options: list[str]) -> Path:
    plan = graph.with_name(name)
    done = trtqat("build", graph, "-o", plan, "--batch", batch, *options)
    assert done.returncode == 0, done.stderr
    return plan


@pytest.fixture(scope="module")
def plan(graph: Path, options: list[str]) -> Path:
    return built(graph, "static.engine", "1,4,8", options)


@pytest.fixture
def engine(plan: Path) -> Iterator[Engine]:
    with Engine(plan) as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(graph: Path) -> OnnxModel:
    return OnnxModel(graph, as_written=True)


def images(engine: Engine, size: int) -> Arrays:
    specs = [spec.with_batch(size) for spec in engine.inputs]
    return random_arrays(specs, seed=size)


def agrees(reference: Model, inputs: Arrays, found: Arrays, size: int) -> bool:
    session = reference.session(size)
    expected = session.run(inputs)
    session.close()
    return all(difference(found[name], expected[name]).sqnr_db > 20 for name in found)


def test_each_session_computes_what_the_reference_does(
    engine: Engine, reference: OnnxModel
) -> None:
    assert [str(each) for each in engine.profiles.ranges] == ["1:1:1", "4:4:4", "8:8:8"]
    for index, size in enumerate(SIZES):
        with engine.session(size) as session:
            assert session.profile == index
            assert session.context.active_optimization_profile == index
            assert session.mode == "CUDA graph"
            inputs = images(engine, size)
            assert agrees(reference, inputs, session.run(inputs), size)


def test_a_batch_between_is_refused(plan: Path, engine: Engine) -> None:
    for size in (2, 5, 9):
        with pytest.raises(UsageError, match="built for 1, 4 and 8"):
            engine.session(size)
    done = trtqat("eval", plan, "--data", "random:9", "--batch-size", "5", "--duration", "0")
    assert done.returncode == 2
    assert "(1, 4 and 8)" in done.stderr


def test_a_last_batch_is_padded(plan: Path) -> None:
    """Eleven images at batch 8: the last three run by the profile of four."""
    done = trtqat(
        "eval", plan, "--data", "random:11", "--batch-size", "8", "--duration", "0", "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 11


def test_without_its_manifest(plan: Path, reference: OnnxModel, tmp_path: Path) -> None:
    shutil.copy(plan, tmp_path / "m.engine")
    with Engine(tmp_path / "m.engine") as engine:
        assert engine.manifest is None
        assert engine.batch_range == (1, 8)
        for size in SIZES:
            with engine.session(size) as session:
                inputs = images(engine, size)
                assert agrees(reference, inputs, session.run(inputs), size)


def test_sessions_of_different_profiles_at_once(engine: Engine, reference: OnnxModel) -> None:
    """Two of one profile among them, each asked in turn."""
    order = (8, 1, 4, 1, 8)
    with ExitStack() as stack:
        sessions = [stack.enter_context(engine.session(size)) for size in order]
        alone = [
            session.run(images(engine, size)) for session, size in zip(sessions, order, strict=True)
        ]
        for _ in range(3):
            for session, size, before in zip(sessions, order, alone, strict=True):
                found = session.run(images(engine, size))
                for name, array in found.items():
                    np.testing.assert_array_equal(array, before[name])
        for size, found in zip(order, alone, strict=True):
            assert agrees(reference, images(engine, size), found, size)


def test_queries_in_flight(engine: Engine) -> None:
    dataset = open_dataset("random:41", engine.inputs)
    one, four = (
        [
            next(iter(answers.outputs[0].values()))
            for answers in run_models([engine], dataset, batch_size=8, in_flight=count)
        ]
        for count in (1, 4)
    )
    np.testing.assert_array_equal(np.concatenate(one), np.concatenate(four))


def test_the_inspector_tells_the_profiles_apart(plan: Path, engine: Engine) -> None:
    found = [inspect_engine(engine, profile=index) for index in range(len(SIZES))]
    for inspected, size in zip(found, SIZES, strict=True):
        assert inspected.batch_size == size
        first = {
            tensor.shape[0]
            for layer in inspected.layers
            for tensor in layer.inputs
            if len(tensor.shape) == len(engine.inputs[0].shape)
            and tensor.shape[1:] == engine.inputs[0].shape[1:]
        }
        assert first == {size}
        # A layer that is listed twice would be one of another profile.
        names = [layer.name for layer in inspected.layers]
        assert len(set(names)) == len(names) > 0
    manifest = read_manifest(plan)
    assert manifest is not None
    assert manifest.coverage is not None
    assert manifest.coverage.profiles == ("1", "4", "8")
    if "residual" in str(plan):
        assert manifest.coverage.missed == ()
    done = trtqat("inspect", plan, "--passes", "3", "--json", "-")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["batch_size"] == 8
    # The profiler names the layers of this profile as the inspector does.
    assert {layer["name"] for layer in record["layers"]} == set(record["layer_times_ms"])


def test_a_range_beside_sizes(graph: Path, reference: OnnxModel, options: list[str]) -> None:
    plan = built(graph, "ranged.engine", "1:4:8,1,8", options)
    manifest = read_manifest(plan)
    assert manifest is not None
    assert [batches_of(each).as_option for each in manifest.all_profiles] == ["1", "8", "1:4:8"]
    with Engine(plan) as engine:
        for size, index in ((1, 0), (2, 2), (3, 2), (7, 2), (8, 1)):
            with engine.session(size) as session:
                assert session.profile == index
                inputs = images(engine, size)
                assert agrees(reference, inputs, session.run(inputs), size)


def test_who_is_warned_of_a_wide_profile(graph: Path, options: list[str]) -> None:
    import tensorrt

    plan = graph.with_name("wide.engine")
    done = trtqat("build", graph, "-o", plan, "--batch", "1:4:8", *options)
    assert done.returncode == 0, done.stderr
    loses = "attention" in str(graph) and tensorrt.__version__.startswith("8.6.")
    assert ("--batch 1,4,8,1:4:8" in done.stderr) == loses


def test_a_float_engine_has_the_same_profiles(plan: Path, options: list[str]) -> None:
    done = trtqat(
        "eval", plan, "--data", "random:8", "--batch-size", "8", "--duration", "0.1",
        "--compare", "fp16", *options[-2:],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Engine(plan.with_name("static.fp16.engine")) as engine:
        assert [each.as_option for each in engine.profiles.ranges] == ["1", "4", "8"]
