"""Tuning of a graph that leaves height and width open: engines are measured at named sizes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import trtqat
from tests.support.rtx_graphs import rtx_or_skip
from tests.support.segments import Segments, quantized
from tests.support.tuned import Card, options_of
from trtqat.building.options import BuildOptions
from trtqat.cli.app import app
from trtqat.errors import DataError, UsageError
from trtqat.evaluation.timing import LatencyOptions
from trtqat.exporting.export import export
from trtqat.plan.manifest import read_manifest
from trtqat.plan.sizes import profile_names
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.forms import Batches, Candidate, Form, batches_for
from trtqat.search.speed.options import parse_tune_options
from trtqat.search.speed.points import (
    ascending,
    at_point,
    batch_of,
    largest,
    points_for,
    read_point,
    sizes_of,
)
from trtqat.search.speed.searched_graph import read_searched, regions_to_search
from trtqat.search.speed.tuning import tune
from trtqat.tensors import TensorSpec

NARROW, WIDE = "images:4x3x32x64", "images:4x3x32x128"
RANGES = ["images:1:4:8x3x32x64", "images:1:4:8x3x32x128"]


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("segments") / "m.onnx"
    model = quantized(Segments)
    options = {"inputs": ["images:1x3x32x64"], "dynamic": ["images:2,3"]}
    export(model, path, exporter="torchscript", **options)  # type: ignore[arg-type]
    return path


@pytest.fixture
def graph(segments: Path, tmp_path: Path) -> Path:
    shutil.copy(segments, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def batches(*shapes: str, batch: str | None = None, inputs: Any = None) -> Batches:
    inputs = inputs or [TensorSpec("images", (-1, 3, -1, -1))]
    return batches_for(inputs, parse_tune_options(shapes=shapes, batch=batch).build.profile)


def test_the_optimum_of_each_profile_is_measured() -> None:
    found = batches(*reversed(RANGES))
    assert found == Batches((NARROW, WIDE), tuple(reversed(RANGES)))
    searched = found.searched(3)
    assert searched == Form(optimization_level=3, shapes=(NARROW, WIDE))
    plain, beside = found.final(searched)
    assert plain.shapes == tuple(reversed(RANGES))
    assert beside.shapes == (NARROW, WIDE, *reversed(RANGES))
    # Each of them is what a build is told.
    assert batches(*beside.shapes).measured == (NARROW, WIDE)


def test_fixed_shapes_are_searched_as_they_are() -> None:
    found = batches(WIDE, NARROW)
    assert found.measured == (NARROW, WIDE)
    assert found.final(found.searched(None)) == ()


def test_all_that_is_open_is_said() -> None:
    inputs = [
        TensorSpec("images", (-1, 3, -1, -1)),
        TensorSpec("scale", (-1, 2)),
        TensorSpec("table", (5, 2)),
    ]
    found = batches("images:1:4:8x3x32x64", inputs=inputs)
    assert found.measured == ("images:4x3x32x64,scale:4x2",)
    assert found.asked == ("images:1:4:8x3x32x64,scale:1:4:8x2",)
    (point,) = found.measured
    assert (batch_of(point), sizes_of(point)) == (4, {"images": (3, 32, 64), "scale": (2,)})
    assert [spec.shape for spec in at_point(inputs, point)] == [(-1, 3, 32, 64), (-1, 2), (5, 2)]
    assert read_point(str(point)) == point
    assert read_point("32") == 32
    # A graph with a fixed batch has one point for each size.
    fixed = [TensorSpec("images", (2, 3, -1, -1))]
    assert batches("images:2x3x32x64", inputs=fixed).measured == ("images:2x3x32x64",)


def test_the_arithmetic_of_regions_is_that_of_a_size(graph: Path) -> None:
    unknown, known = (
        regions_to_search(read_searched(graph, is_repaired=False)[0], sizes)
        for sizes in (None, {"images": (3, 32, 64)})
    )
    assert [each.nodes for each in unknown] == [each.nodes for each in known]
    assert {round(each.share, 3) for each in unknown} == {0.333}
    assert sum(each.share for each in known) == pytest.approx(1)
    # The first convolution has 27 products an output of 8 channels, at a quarter of the places.
    products = [27 * 8 / 4, 72 * 8 / 16, 16 * 4 / 4]
    assert [each.share for each in known] == pytest.approx([p / sum(products) for p in products])


def test_each_size_is_measured_and_the_plan_takes_all(
    graph: Path, tmp_path: Path, card: Card
) -> None:
    output = tmp_path / "tuned.onnx"
    result = tune(graph, output, shapes=RANGES)
    assert result.batches.measured == (NARROW, WIDE)
    assert [set(each.times) for each in result.verdict] == [{NARROW, WIDE}] * len(result.verdict)
    assert result.tuned.floats == ("/first/Conv",)
    # The search is at each point alone, the plan that is handed out takes all that was asked for.
    assert {each.form.shapes for each in card.made[:3]} == {(NARROW, WIDE)}
    assert result.tuned.form.shapes == tuple(RANGES)
    written = options_of(output)
    assert (written.batches, written.shapes, written.schema_version) == ((), tuple(RANGES), 2)


def test_few_builds_are_enough(graph: Path, tmp_path: Path, card: Card) -> None:
    result = tune(graph, tmp_path / "tuned.onnx", shapes=RANGES, most_builds=4)
    assert {"INT8 as exported", "FP16"} <= {each.name for each in result.verdict}
    assert not result.is_complete
    assert set(RANGES) <= set(result.tuned.form.shapes)


def test_where_ranges_cost_each_size_gets_a_profile_beside(
    graph: Path, tmp_path: Path, card: Card
) -> None:
    card.wide = {True: 1.2, False: 1.2}
    result = tune(graph, tmp_path / "tuned.onnx", shapes=RANGES)
    assert result.tuned.form.shapes == (NARROW, WIDE, *RANGES)


def test_one_size_may_want_what_another_does_not(graph: Path, tmp_path: Path, card: Card) -> None:
    card.at_batch = {NARROW: 3.0, WIDE: 1.5}
    card.first_gains = False
    from trtqat.report.tune_words import closing_lines, region_table, verdict_table

    result = tune(graph, tmp_path / "tuned.onnx", shapes=[NARROW, WIDE])
    # 3 and 1.5 against 2 and 2: the mean of the first is larger.
    assert len(result.tuned.floats) == 3
    lines = "\n".join(closing_lines(result))
    assert f"at {WIDE} INT8 as exported is faster: 4.500 ±0.005 ms" in lines
    assert f"tune for it alone with --shapes {WIDE}" in lines
    assert "over several shapes the geometric mean" in lines
    assert f"its plan has 2 profiles, for {NARROW}, {WIDE}" in lines
    _, columns, rows = verdict_table(result)
    assert columns[1:3] == ["profiles", "shapes"]
    assert {row[2] for row in rows} == {NARROW, WIDE}
    regions = region_table(result)
    assert regions is not None
    assert regions[0].startswith(f"Regions at {WIDE},")


def test_an_interrupted_search_is_gone_on_with(graph: Path, tmp_path: Path, card: Card) -> None:
    output = tmp_path / "tuned.onnx"
    card.killed_at = 2
    with pytest.raises(KeyboardInterrupt):
        tune(graph, output, shapes=RANGES)
    card.killed_at = None
    result = tune(graph, output, shapes=RANGES)
    assert len(card.made) == len({*card.made}) == result.builds


def test_without_a_size_it_is_refused_with_the_option(
    graph: Path, tmp_path: Path, card: Card
) -> None:
    way_out = r"besides the batch: \?x3x\?x\?\..*--shapes images:1:32:32x3x640x640 for it"
    for given in ({}, {"batch": "1:8:32"}):
        with pytest.raises(UsageError, match=way_out):
            tune(graph, tmp_path / "tuned.onnx", **given)  # type: ignore[arg-type]
    assert card.made == []
    done = CliRunner().invoke(app, ["tune", str(graph), "-o", str(tmp_path / "tuned.onnx")])
    assert done.exit_code == 2


def images(folder: Path, width: int, *, labels: bool = False) -> str:
    arrays: dict[str, Any] = {"images": np.ones((6, 3, 32, width), np.float32)}
    if labels:
        arrays["labels"] = np.zeros(6, np.int64)
    np.savez(folder / "d.npz", **arrays)
    return f"npz:{folder / 'd.npz'}"


def test_data_is_of_a_size_that_is_measured(graph: Path, tmp_path: Path, card: Card) -> None:
    data = images(tmp_path, 96)
    with pytest.raises(
        DataError, match=rf"of size images 3x32x96, and .* at {NARROW}, {WIDE}\..* of the data"
    ):
        tune(graph, tmp_path / "tuned.onnx", shapes=RANGES, data=data)
    assert card.made == []
    specs = [TensorSpec("images", (-1, 3, -1, -1))]
    opened = trtqat.data.dataset.open_dataset(images(tmp_path, 128), specs)
    assert points_for(opened, specs, (NARROW, WIDE, "images:1x3x32x128")) == [
        WIDE,
        "images:1x3x32x128",
    ]
    result = tune(graph, tmp_path / "tuned.onnx", shapes=RANGES, data=images(tmp_path, 64))
    assert result.batches.measured == (NARROW, WIDE)


def test_the_command(graph: Path, tmp_path: Path, card: Card) -> None:
    output = tmp_path / "tuned.onnx"
    asked = [each for shape in RANGES for each in ("--shapes", shape)]
    done = CliRunner().invoke(app, ["tune", str(graph), "-o", str(output), *asked, "--json", "-"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["batches"]["measured"] == [NARROW, WIDE]
    assert set(record["verdict"][-1]["times"]) == {NARROW, WIDE}


def test_the_builder_makes_all_forms_and_the_tuned_plan(
    graph: Path, tmp_path: Path, card: Card
) -> None:
    """TensorRT for RTX really builds them, without running them."""
    rtx_or_skip()
    model, _ = read_searched(graph, is_repaired=False)
    found = batches(*RANGES)
    regions = regions_to_search(model, sizes_of(found.measured[-1]))
    options, latency = BuildOptions(for_="rtx"), LatencyOptions()
    made = EngineWorkshop(graph, regions, options, found.measured, "random", latency, tmp_path)
    for form in (found.searched(None), *found.final(found.searched(None))):
        manifest = read_manifest(made.plan_of(Candidate((0,), form)))
        assert manifest is not None
        assert profile_names(manifest.all_profiles) == form.shapes
        assert manifest.coverage is not None
        # The region in floating point is so in every profile, and the others are INT8.
        wanted = {each.name for each in manifest.coverage.wanted}
        assert wanted == {"/second/Conv", "/head/Conv"}
        assert manifest.coverage.missed == ()
    result = tune(graph, tmp_path / "tuned.onnx", shapes=RANGES)
    built = trtqat.build(result.output, tmp_path / "tuned.engine", result.options, for_="rtx")
    assert profile_names(built.manifest.all_profiles) == tuple(RANGES)


def test_shapes_of_as_many_elements_are_told_apart() -> None:
    """What regions take is said of the shape at which it was measured."""
    tall, flat = "images:4x3x64x32", NARROW
    for points in ((tall, flat), (flat, tall)):
        assert largest(points) == ascending(points)[-1] == tall
