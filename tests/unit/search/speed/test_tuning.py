"""What ``trtqat.tune`` refuses before it builds anything, and the graphs that it builds from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import trtqat
from tests.support.examples import exported
from trtqat.building.options import BuildOptions
from trtqat.building.parsing import parse_profiles
from trtqat.building.profiles import ProfileOptions
from trtqat.building.tuned_options import TunedOptions, read_tuned
from trtqat.cli.app import app
from trtqat.errors import DataError, GraphError, MissingError, UsageError
from trtqat.evaluation.intervals import Interval, Ratio
from trtqat.evaluation.timing import LatencyOptions
from trtqat.files import sha256_of
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.host.tensorrt_library import load_rtx
from trtqat.plan.manifest import read_manifest
from trtqat.plan.profiles import batches_of
from trtqat.report.tune_words import closing_lines, region_table, verdict_table
from trtqat.search.speed import tuning
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.folder import is_ours
from trtqat.search.speed.forms import Batches, Candidate, Form, batches_for
from trtqat.search.speed.options import TuneOptions, parse_seconds
from trtqat.search.speed.tune_log import Int8Part, Measured, MeasuredTime
from trtqat.search.speed.tuning import tune
from trtqat.search.speed.within_target import Counted
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
    with pytest.raises(UsageError, match="no other shapes"):
        TuneOptions(build=BuildOptions(profile=ProfileOptions(opt_shapes={"x": (1, 2)})))


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
    with pytest.raises(UsageError, match="besides the batch"):
        batches(images(-1, 3, -1, -1))
    with pytest.raises(UsageError, match="fixed batch"):
        batches(images(-1), TensorSpec("mask", (4, 4)))


class Card:
    """Stands for builder and GPU: the first region gains by floating point, but costs accuracy.

    Attributes:
        killed_at: After so many builds the process is killed.
        made: What was built.
        at_batch: What the other regions cost by batch in INT8; in floating point they take 2 ms.
        wide: By how much a profile for several batches alone slows a plan down, by whether it has
            INT8 regions.
        lever: How much faster a plan is by a form's options.
        first_gains: Whether the first region gains by floating point.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed_at: int | None = None
        self.made: list[Candidate] = []
        self.at_batch: dict[int, float] = {}
        self.wide = {True: 1.0, False: 1.0}
        self.several = {True: 1.0, False: 1.0}
        self.lever: Callable[[Form], float] = lambda form: 1.0
        self.first_gains = True
        monkeypatch.setattr(tuning, "check_host", lambda: None)
        monkeypatch.setattr(tuning, "host_names", lambda: ("A GPU", "580", "8.6.0"))
        # Functions, so that they are the workshop's own methods.
        for name in ("make", "compare", "count"):
            method = getattr(self, name)
            monkeypatch.setattr(EngineWorkshop, name, lambda *given, method=method: method(*given))

    def costs(self, made: EngineWorkshop, one: Candidate, batch: int) -> dict[int, float]:
        count = len(made.regions)
        quantized = [at for at in range(count) if made.regions[at].is_quantized]
        slower = self.lever(one.form)
        has_int8 = not set(quantized) <= set(one.floats)
        alone = str(batch) in one.form.batches
        if one.form.batches and not alone:
            slower *= self.wide[has_int8]
        elif any(":" in each for each in one.form.batches):
            slower *= self.several[has_int8]
        int8 = self.at_batch.get(batch, 1.0)
        costs = {at: (2.0 if at in one.floats else int8) * slower for at in range(count)}
        if self.first_gains:
            costs[0] = (1.0 if 0 in one.floats else 2.0) * slower
        return costs

    def times(self, made: EngineWorkshop, one: Candidate) -> dict[int, float]:
        return {batch: sum(self.costs(made, one, batch).values()) for batch in made.batches}

    def make(self, made: EngineWorkshop, one: Candidate) -> Measured:
        if len(self.made) == self.killed_at:
            raise KeyboardInterrupt
        self.made.append(one)
        times = {
            batch: MeasuredTime(time_ms, Interval(time_ms * 0.999, time_ms * 1.001))
            for batch, time_ms in self.times(made, one).items()
        }
        costs = {batch: self.costs(made, one, batch) for batch in made.batches}
        return Measured(times, costs, Int8Part(3, 5, 0, 0.625))

    def compare(self, made: EngineWorkshop, one: Candidate, other: Candidate) -> dict[int, Ratio]:
        mine, others = self.times(made, one), self.times(made, other)
        values = {batch: others[batch] / mine[batch] for batch in made.batches}
        return {
            batch: Ratio(value, Interval(value * 0.999, value * 1.001), 9)
            for batch, value in values.items()
        }

    def count(self, made: EngineWorkshop, one: Candidate) -> Counted:
        return Counted({(0,): 80, (): 88}.get(one.floats, 90), 100)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)


def data_for(name: str, folder: Path, *, labels: bool) -> str:
    arrays: dict[str, Any] = dict(exported(name, folder)[1].batch(0, 24).inputs)
    if labels:
        arrays["labels"] = np.zeros(24, np.int64)
    np.savez(folder / "val.npz", **arrays)
    return f"npz:{folder / 'val.npz'}"


def test_the_fastest_graph_is_written_and_the_folder_goes(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions())
    assert [each.name for each in result.verdict] == [
        *("INT8 as exported", "FP16", "INT8 as exported", "tuned")
    ]
    assert [each.form.batches for each in result.verdict] == [
        *(("32",), ("32",), ("1:32:32",), ("1:32:32",))
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


def first_region(path: Path) -> str:
    model = read_model(path)
    infer_shapes(model)
    return regions_of(model)[0].name


def graph_pairs(path: Path) -> int:
    return sum(node.op_type == "DequantizeLinear" for node in read_model(path).graph)


def test_an_accuracy_target_is_held_and_told(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    data = data_for("residual", tmp_path, labels=True)
    options = TuneOptions(data=data, max_drop_points=5.0)
    result = tune(path, tmp_path / "tuned.onnx", options)
    assert result.verdict[-1].floats == ()
    # INT8 as exported stands there once: it is the tuned one, but for its profiles.
    assert [each.counted and each.counted.right for each in result.verdict] == [88, 90, 88]
    _, columns, rows = verdict_table(result)
    assert columns[-1] == "top-1"
    assert [row[-1] for row in rows] == ["88.00 %", "90.00 %", "88.00 %"]
    assert any("within 5 points" in line for line in closing_lines(result))
    none = tune(path, tmp_path / "none.onnx", replace(options, max_drop_points=0.0))
    assert set(none.tuned.floats) == {each.name for each in none.regions}
    assert graph_pairs(tmp_path / "none.onnx") == 0


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


def options_of(output: Path) -> TunedOptions:
    return read_tuned(output.with_suffix(".json"))


def test_the_options_that_go_with_the_graph_are_written(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = trtqat.tune(path, output, batch="8", tactic_sources="-cudnn")
    tuned = options_of(output)
    assert result.options == tmp_path / "tuned.json"
    assert tuned.graph_sha256 == sha256_of(output)
    assert (tuned.gpu, tuned.tensorrt, tuned.graph) == ("A GPU", "8.6.0", "tuned.onnx")
    # One batch alone is one static profile, and no other form is tried but the levers.
    assert (tuned.precision, tuned.batches, tuned.tactic_sources) == ("int8", ("8",), "-cudnn")
    assert {each.form.batches for each in card.made} == {("8",)}
    assert f"--options {tmp_path / 'tuned.json'}" in list(closing_lines(result))[-1]
    # What the graph says of its pairs is what is left of them.
    recorded = json.loads(read_model(output).metadata_props["trtqat"])
    before = json.loads(read_model(path).metadata_props["trtqat"])
    assert recorded["qdq_pairs"] == graph_pairs(output) < before["qdq_pairs"]
    assert recorded["int8_share"] < before["int8_share"]
    # Once more into the same files.
    trtqat.tune(path, output, batch="8")


def test_where_fp16_wins_everywhere_that_is_what_is_written(tmp_path: Path, card: Card) -> None:
    card.at_batch = {32: 3.0}
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions())
    assert options_of(output).precision == "fp16"
    assert graph_pairs(output) == 0
    assert json.loads(read_model(output).metadata_props["trtqat"])["int8_share"] == 0
    lines = " ".join(closing_lines(result))
    assert "its engine is FP16, without any layer in INT8" in lines
    # Without FP16 it would be FP32 throughout.
    assert all(each.form.fp16 for each in card.made)


def test_equal_forms_leave_what_was_asked_for(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions(build=asked("1:8:16")))
    assert options_of(output).batches == ("1:8:16",)
    assert result.static is None


def asked(batch: str) -> BuildOptions:
    return BuildOptions(profile=parse_profiles(batch, {}))


def test_a_wide_profile_that_costs_gets_one_for_the_optimum_beside_it(
    tmp_path: Path, card: Card
) -> None:
    card.wide = {True: 1.5, False: 1.5}
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions(build=asked("1:8:16")))
    assert options_of(output).batches == ("8", "1:8:16")
    assert result.tuned.form.batches == ("8", "1:8:16")
    (today,) = [each for each in result.verdict if each.form.batches == ("1:8:16",)]
    assert today.speed_ups[8].value > 1.5
    assert "2 profiles, for batch 8, 1:8:16" in " ".join(closing_lines(result))


def test_where_every_form_costs_an_end_that_loses_less_is_the_answer(
    tmp_path: Path, card: Card
) -> None:
    """As 8.6 compiles INT8 transformers: the profile alone costs more than INT8 gains."""
    card.wide = card.several = {True: 2.5, False: 1.0}
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions(build=asked("1:8:16")))
    assert options_of(output).precision == "fp16"
    assert set(result.tuned.floats) == {each.name for each in result.regions}


def test_what_one_batch_alone_would_take_is_told(tmp_path: Path, card: Card) -> None:
    card.wide = {True: 1.5, False: 1.5}
    card.several = {True: 1.1, False: 1.1}
    path, _ = exported("residual", tmp_path)
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions(build=asked("1:8:16")))
    assert result.tuned.form.batches == ("8", "1:8:16")
    assert result.static is not None
    assert result.static.times[8].median_ms < result.tuned.times[8].median_ms
    assert "for batch 8 alone it would take" in " ".join(closing_lines(result))


@pytest.mark.parametrize(
    ("lever", "level", "fp16"),
    [
        (lambda form: 1 - 0.1 * (form.optimization_level == 5), 5, True),
        (lambda form: 1 - 0.1 * (not form.fp16), None, False),
        (lambda form: 1 - 0.1 * (form.optimization_level == 5) - 0.1 * (not form.fp16), 5, False),
        (lambda form: 1 + 0.1 * (form.optimization_level == 5) + 0.1 * (not form.fp16), None, True),
    ],
)
def test_levers_are_kept_where_they_are_faster(
    lever: Callable[[Form], float], level: int | None, fp16: bool, tmp_path: Path, card: Card
) -> None:
    card.lever = lever
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions())
    tuned = options_of(output)
    assert (tuned.optimization_level, tuned.fp16) == (level, fp16)
    assert {each.form.optimization_level for each in result.tries} == {None, 5}
    assert {each.form.fp16 for each in result.tries} == {True, False}
    built = " ".join(closing_lines(result))
    assert ("--builder-optimization-level 5" in built) == (level == 5)
    assert ("--no-fp16" in built) == (not fp16)


def test_a_level_that_was_given_is_not_chosen(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    trtqat.tune(path, tmp_path / "tuned.onnx", optimization_level=3)
    assert {each.form.optimization_level for each in card.made} == {3}
    assert options_of(tmp_path / "tuned.onnx").optimization_level == 3


def test_several_batches_are_measured_in_the_same_builds(tmp_path: Path, card: Card) -> None:
    """At batch 32 INT8 gains, at batch 1 it loses by more: the mean decides, and that is said."""
    card.at_batch = {1: 6.0, 32: 1.0}
    card.first_gains = False
    path, _ = exported("residual", tmp_path)
    result = trtqat.tune(path, tmp_path / "tuned.onnx", batch="1,32")
    assert {each.form.batches for each in card.made} == {("1", "32")}
    assert set(result.tuned.times) == {1, 32}
    assert options_of(tmp_path / "tuned.onnx").precision == "fp16"
    lines = " ".join(closing_lines(result))
    assert "the geometric mean of the times decides" in lines
    assert "at batch 32 INT8 as exported is faster" in lines
    assert "at batch 1 INT8" not in lines
    _, columns, rows = verdict_table(result)
    assert [row[columns.index("batch")] for row in rows] == ["1", "32"] * 3
    card.at_batch = {1: 3.0, 32: 0.5}
    other = trtqat.tune(path, tmp_path / "other.onnx", batch="1,32")
    assert other.tuned.floats == ()


def test_the_budget_leaves_room_for_the_plan_that_is_handed_out(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    options = TuneOptions(build=asked("1:8:16"), most_builds=4)
    result = tune(path, output, options)
    assert (result.builds, result.is_complete) == (4, False)
    assert [each.form.batches for each in card.made[2:]] == [("8", "1:8:16"), ("1:8:16",)]
    assert "The budget ended the search" in " ".join(closing_lines(result))
    # With less than that the safest form is built all the same.
    card.made.clear()
    spent = tune(path, output, replace(options, most_builds=2))
    assert [each.form.batches for each in card.made[2:]] == [("8", "1:8:16")]
    assert spent.tuned.form.batches == ("8", "1:8:16")


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
