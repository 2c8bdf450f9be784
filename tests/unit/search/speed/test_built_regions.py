"""The graphs that a search builds from, built by TensorRT for RTX without running them."""

from __future__ import annotations

from pathlib import Path

import pytest

import trtqat
from tests.support.examples import exported
from tests.support.rtx_graphs import rtx_or_skip
from trtqat.building.options import BuildOptions
from trtqat.evaluation.timing import LatencyOptions
from trtqat.files import sha256_of, write_together
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import files_of
from trtqat.plan.manifest import read_manifest
from trtqat.plan.profiles import batches_of
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.folder import is_ours
from trtqat.search.speed.forms import Candidate, Form


def workshop(name: str, folder: Path) -> EngineWorkshop:
    path, _ = exported(name, folder)
    model = read_model(path)
    infer_shapes(model)
    options = BuildOptions(for_="rtx")
    return EngineWorkshop(path, regions_of(model), options, [1], "random", LatencyOptions(), folder)


@pytest.mark.parametrize("name", ["residual", "depthwise", "attention"])
def test_the_builder_sees_a_region_in_float_and_all_others_in_int8(
    name: str, tmp_path: Path
) -> None:
    """TensorRT for RTX really builds them, without running them."""
    rtx_or_skip()
    made = workshop(name, tmp_path)
    everything = {layer for region in made.regions for layer in region.layers}
    for place, region in enumerate(made.regions):
        if set(region.layers) == everything:
            continue
        graph = made.graph_of(frozenset({place}))
        built = trtqat.build(graph, tmp_path / "m.engine", for_="rtx")
        assert built.coverage is not None
        assert {layer.name for layer in built.coverage.wanted} == everything - set(region.layers)
        assert built.coverage.missed == ()


def test_a_form_is_what_the_plan_is_built_in(tmp_path: Path) -> None:
    """TensorRT for RTX really builds them, without running them."""
    rtx_or_skip()
    made = workshop("residual", tmp_path)
    forms = [Form(("2",)), Form(("2", "1:2:4"), optimization_level=2)]
    plans = [made.plan_of(Candidate((0,), form)) for form in forms]
    for plan, form in zip(plans, forms, strict=True):
        manifest = read_manifest(plan)
        assert manifest is not None
        found = tuple(batches_of(each).as_option for each in manifest.all_profiles)
        assert (found, manifest.options.optimization_level) == (
            form.batches,
            form.optimization_level,
        )
    before = [plan.stat().st_mtime_ns for plan in plans]
    assert [made.plan_of(Candidate((0,), form)) for form in forms] == plans
    assert [plan.stat().st_mtime_ns for plan in plans] == before
    assert all(is_ours(path) for path in tmp_path.iterdir() if path.name != "residual.onnx")


def test_the_plan_that_was_measured_is_handed_out(tmp_path: Path) -> None:
    """With the name and the hash of the graph that goes with it, and what runs in INT8."""
    rtx_or_skip()
    made = workshop("residual", tmp_path)
    candidate = Candidate((0,), Form(("2",)))
    graph, plan = tmp_path / "out" / "tuned.onnx", tmp_path / "out" / "tuned.engine"
    graph.parent.mkdir()
    measured = made.plan_of(candidate)
    write_together(files_of(read_model(made.graph_of(candidate.floats, candidate.form)), graph))
    made.hand_out(candidate, graph, plan)
    assert plan.read_bytes() == measured.read_bytes()
    manifest, before = read_manifest(plan), read_manifest(measured)
    assert manifest is not None
    assert before is not None
    assert (manifest.graph, manifest.graph_sha256) == ("tuned.onnx", sha256_of(graph))
    assert manifest.options == before.options
    assert manifest.coverage is not None
    assert manifest.coverage.wanted
    assert manifest.coverage.missed == ()
    assert sorted(each.name for each in graph.parent.iterdir()) == [
        *("tuned.engine", "tuned.engine.json", "tuned.onnx")
    ]


def test_graphs_of_assignments_are_files_of_their_own(tmp_path: Path) -> None:
    made = workshop("residual", tmp_path)
    places = [frozenset[int](), frozenset({0}), frozenset({1}), frozenset({0, 1})]
    files = [made.graph_of(each) for each in places]
    assert len(set(files)) == len(places)
    assert [made.graph_of(each) for each in places] == files
