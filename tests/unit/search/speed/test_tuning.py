"""What ``trtqat.tune`` refuses before it builds anything, and the graphs that it builds from."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import trtqat
from tests.support.examples import exported
from tests.support.tuned import Card, asked, data_for, first_region, graph_pairs
from trtqat.building.options import BuildOptions
from trtqat.building.parsing import parse_profiles
from trtqat.building.profiles import ProfileOptions
from trtqat.cli.app import app
from trtqat.errors import DataError, GraphError, MissingError, UsageError
from trtqat.evaluation.timing import LatencyOptions
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.host.tensorrt_library import load_rtx
from trtqat.plan.manifest import read_manifest
from trtqat.plan.profiles import batches_of
from trtqat.report.tune_words import closing_lines, region_table, verdict_table
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.folder import is_ours
from trtqat.search.speed.forms import Batches, Candidate, Form, batches_for
from trtqat.search.speed.options import TuneOptions, parse_seconds
from trtqat.search.speed.tuning import tune
from trtqat.search.speed.within_target import Counted, Valued
from trtqat.tensors import TensorSpec
from trtqat.typed_json import as_fields, json_text


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
    try:
        load_rtx("This test")
    except MissingError as error:
        pytest.skip(str(error))
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
    try:
        load_rtx("This test")
    except MissingError as error:
        pytest.skip(str(error))
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


def test_graphs_of_assignments_are_files_of_their_own(tmp_path: Path) -> None:
    made = workshop("residual", tmp_path)
    places = [frozenset[int](), frozenset({0}), frozenset({1}), frozenset({0, 1})]
    files = [made.graph_of(each) for each in places]
    assert len(set(files)) == len(places)
    assert [made.graph_of(each) for each in places] == files


def test_only_a_quantized_graph_can_be_tuned(tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    with pytest.raises(GraphError, match="There is no"):
        tune(plain, tmp_path / "tuned.onnx", TuneOptions())
    path, _ = exported("residual", tmp_path)
    with pytest.raises(UsageError, match="is the graph itself"):
        tune(path, path, TuneOptions())
    with pytest.raises(UsageError, match="missing"):
        tune(path, tmp_path / "missing" / "tuned.onnx", TuneOptions())


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("90s", 90), ("1.5h", 5400), ("7", 7), (30, 30)]
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-3", "10 minutes", "m", "1e3", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_seconds(text)


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="only on its card"):
        TuneOptions(build=BuildOptions(for_="rtx"))
    with pytest.raises(UsageError, match="most_builds"):
        TuneOptions(most_builds=1)
    with pytest.raises(UsageError, match="budget"):
        TuneOptions(budget_s=float("inf"))
    with pytest.raises(UsageError, match="may not drop"):
        TuneOptions(data="npz:val.npz", max_drop_points=-0.1)
    with pytest.raises(UsageError, match="no labels"):
        TuneOptions(max_drop_points=0.1)


def images(batch: int, *others: int) -> TensorSpec:
    return TensorSpec("x", (batch, *(others or (3, 8, 8))))


def batches(*inputs: TensorSpec, batch: str | None = None) -> Batches:
    return batches_for(inputs, parse_profiles(batch, {}))


def test_of_a_batch_range_the_optimum_is_measured() -> None:
    found = batches(images(-1), batch="1:16:64")
    assert (found.measured, found.asked) == ((16,), ("1:16:64",))
    assert found.searched(None) == Form(("16",))
    assert found.final(Form(("16",))) == (Form(("1:16:64",)), Form(("16", "1:16:64")))
    # As a build takes it that is not told.
    found = batches(images(-1))
    assert (found.measured, found.asked) == ((32,), ("1:32:32",))


def test_of_several_ranges_each_optimum_is_measured() -> None:
    found = batches(images(-1), batch="32,1")
    assert (found.measured, set(found.asked)) == ((1, 32), {"1", "32"})
    assert found.final(found.searched(5)) == ()
    found = batches(images(-1), batch="1:32:128,1,32")
    assert found.measured == (1, 32)
    (form,) = found.final(found.searched(5))
    assert (form.batches, form.optimization_level) == (("1", "32", "1:32:128"), 5)


def test_a_fixed_batch_is_measured_as_it_is() -> None:
    for batch in (None, "8"):
        found = batches(images(8), batch=batch)
        assert found == Batches((8,), ())
        assert found.final(found.searched(None)) == ()
        assert found.searched(None).profile == ProfileOptions()
    for batch in ("16", "1:8:32"):
        with pytest.raises(UsageError, match="fixed batch of 8, not 1"):
            batches(images(8), batch=batch)


def test_other_dynamic_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"besides the batch.*--shapes x:1:32:32x3x640x640 for it"):
        batches(images(-1, 3, -1, -1))
    with pytest.raises(UsageError, match=r"besides the batch.*--shapes x:1:32:32x3x640x640 for it"):
        batches(images(-1, 3, -1, -1), batch="1:8:32")
    with pytest.raises(UsageError, match="fixed batch"):
        batches(images(-1), TensorSpec("mask", (4, 4)))


def test_the_fastest_graph_is_written_and_the_folder_goes(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions())
    assert [each.name for each in result.verdict] == [
        *("INT8 as exported", "INT8, repaired", "FP16", "INT8 as exported", "tuned")
    ]
    assert [each.form.batches for each in result.verdict] == [
        *(("32",), ("32",), ("32",), ("1:32:32",), ("1:32:32",))
    ]
    assert result.tuned.floats == (first_region(path),)
    assert all(each.counted is None for each in result.verdict)
    pairs = {name: graph_pairs(each) for name, each in (("before", path), ("after", output))}
    assert 0 < pairs["after"] < pairs["before"]
    assert not (tmp_path / "tuned.onnx.tune").exists()
    json_text(as_fields(result))
    for table in (verdict_table(result), region_table(result)):
        assert table is not None
        assert all(len(row) == len(table[1]) for row in table[2])
    assert any("in floating point are" in line for line in closing_lines(result))


def test_an_accuracy_target_is_held_and_told(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    data = data_for("residual", tmp_path, labels=True)
    options = TuneOptions(data=data, max_drop_points=5.0)
    result = tune(path, tmp_path / "tuned.onnx", options)
    assert result.verdict[-1].floats == ()
    # INT8 as exported stands there once: it is the tuned one, but for its profiles.
    assert [each.counted for each in result.verdict] == [
        Counted(right, 100) for right in (88, 88, 90, 88)
    ]
    _, columns, rows = verdict_table(result)
    assert columns[-1] == "top-1"
    assert [row[-1] for row in rows] == ["88.00 %", "88.00 %", "90.00 %", "88.00 %"]
    assert any("within 5 points" in line for line in closing_lines(result))
    none = tune(path, tmp_path / "none.onnx", replace(options, max_drop_points=0.0))
    assert set(none.tuned.floats) == {each.name for each in none.regions}
    assert graph_pairs(tmp_path / "none.onnx") == 0


@pytest.mark.parametrize(
    ("unit", "said", "shown"),
    [("%", "within 5 points of FP16", "88.00 %"), ("", "within 5 (miou) of FP16", "88")],
)
def test_a_metric_is_held_and_told(
    unit: str, said: str, shown: str, tmp_path: Path, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(made: EngineWorkshop, one: Candidate) -> Valued:
        assert made.metric is not None
        assert made.metric.spec == "miou:ignore=255"
        return Valued(made.metric.label, {(0,): 80.0, (): 88.0}.get(one.floats, 90.0), unit, True)

    monkeypatch.setattr(EngineWorkshop, "count", measured)
    path, _ = exported("residual", tmp_path)
    data = data_for("residual", tmp_path, labels=True)
    options = TuneOptions(data=data, metric="miou:ignore=255", max_drop_points=5.0)
    result = tune(path, tmp_path / "tuned.onnx", options)
    assert result.verdict[-1].floats == ()
    _, columns, rows = verdict_table(result)
    assert columns[-1] == "miou"
    assert rows[-1][-1] == shown
    assert any(said in line for line in closing_lines(result))
    json_text(as_fields(result))
    none = tune(path, tmp_path / "none.onnx", replace(options, max_drop_points=0.0))
    assert set(none.tuned.floats) == {each.name for each in none.regions}


def test_a_metric_without_a_target_or_with_other_labels(tmp_path: Path, card: Card) -> None:
    with pytest.raises(UsageError, match="A metric belongs to an accuracy target"):
        TuneOptions(data="npz:d.npz", metric="miou")
    path, images = exported("residual", tmp_path)
    arrays: dict[str, Any] = dict(images.batch(0, 24).inputs)
    np.savez(tmp_path / "masks.npz", **arrays, labels=np.zeros((24, 4, 4), np.uint8))
    options = TuneOptions(data=f"npz:{tmp_path / 'masks.npz'}", max_drop_points=1.0)
    with pytest.raises(DataError, match="must be one integer per sample, but are uint8"):
        tune(path, tmp_path / "tuned.onnx", options)
    with pytest.raises(UsageError, match="no metric 'nonsense'"):
        tune(path, tmp_path / "tuned.onnx", replace(options, metric="nonsense"))
    assert card.made == []


def test_data_without_labels_is_refused_before_anything_is_built(
    tmp_path: Path, card: Card
) -> None:
    path, _ = exported("residual", tmp_path)
    data = data_for("residual", tmp_path, labels=False)
    options = TuneOptions(data=data, max_drop_points=1.0)
    with pytest.raises(DataError, match="no labels"):
        tune(path, tmp_path / "tuned.onnx", options)
    assert card.made == []


def test_an_interrupted_search_is_gone_on_with(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    card.killed_at = 2
    with pytest.raises(KeyboardInterrupt):
        tune(path, tmp_path / "tuned.onnx", TuneOptions())
    assert (tmp_path / "tuned.onnx.tune" / "log.json").exists()
    card.killed_at = None
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions())
    assert result.builds == len(card.made) == len(set(card.made))


@pytest.mark.parametrize("name", ["", "same"])
def test_nodes_without_names_of_their_own_are_told_apart(
    name: str, tmp_path: Path, card: Card
) -> None:
    path, _ = exported("residual", tmp_path)
    expected = tune(path, tmp_path / "named.onnx", TuneOptions())
    proto = onnx.load(path)
    for node in proto.graph.node:
        node.name = name
    onnx.save(proto, path)
    found = tune(path, tmp_path / "tuned.onnx", TuneOptions())
    assert len(found.regions) == len(expected.regions) == len(set(found.regions))
    assert graph_pairs(tmp_path / "tuned.onnx") == graph_pairs(tmp_path / "named.onnx")


def test_another_file_where_the_options_go_is_not_overwritten(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    (tmp_path / "tuned.json").write_text("[1, 2, 3]")
    with pytest.raises(UsageError, match="holds something else"):
        tune(path, tmp_path / "tuned.onnx", TuneOptions())
    with pytest.raises(UsageError, match="is where the build options go"):
        tune(path, tmp_path / "model.json", TuneOptions())
    assert card.made == []


def test_other_data_of_the_same_name_is_another_search(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    options = TuneOptions(data=data_for("residual", tmp_path, labels=True))
    card.killed_at = 2
    for count in (2, 2):
        with pytest.raises(KeyboardInterrupt):
            tune(path, tmp_path / "tuned.onnx", options)
        assert len(card.made) == count
    data_for("residual", tmp_path, labels=False)
    card.killed_at = 3
    with pytest.raises(KeyboardInterrupt):
        tune(path, tmp_path / "tuned.onnx", options)
    assert card.made[-1] == card.made[0]


def test_the_command_prints_and_logs(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    log = tmp_path / "log.json"
    command = ["tune", str(path), "-o", str(tmp_path / "tuned.onnx"), "--batch", "1:8:16"]
    done = CliRunner().invoke(app, [*command, "--budget", "5m"])
    assert done.exit_code == 0, done.output
    assert re.search(r"\| INT8 as exported \| +1:8:16 \|", done.output)
    assert "3 of 5 |" in done.output.replace("  ", " ")
    assert "62 %" in done.output
    assert "next: trtqat build" in done.output
    done = CliRunner().invoke(app, [*command, "--json", str(log)])
    assert done.exit_code == 0, done.output
    record = json.loads(log.read_text())
    assert record["batches"]["measured"] == [8]
    assert record["verdict"][-1]["name"] == "tuned"
    assert len(record["tries"]) == record["builds"]
    for taken in ("tuned.json", "tuned.onnx"):
        refused = CliRunner().invoke(app, [*command, "--json", str(tmp_path / taken)])
        assert refused.exit_code == 2
        assert "would overwrite" in refused.output


def test_however_often_it_is_killed_nothing_is_built_twice(tmp_path: Path, card: Card) -> None:
    """The forms and levers of the plan are in the log as well."""
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    options = TuneOptions(build=asked("1:8:16"))
    card.wide = {True: 1.5, False: 1.5}
    expected = tune(path, tmp_path / "whole.onnx", options)
    whole = list(card.made)
    card.made.clear()
    for killed_at in range(len(whole)):
        card.killed_at = killed_at
        with pytest.raises(KeyboardInterrupt):
            tune(path, output, options)
        assert not output.exists()
    card.killed_at = None
    result = tune(path, output, options)
    assert card.made == whole
    assert result.verdict == expected.verdict
    assert output.read_bytes() == (tmp_path / "whole.onnx").read_bytes()
