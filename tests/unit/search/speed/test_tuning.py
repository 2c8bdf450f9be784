"""What ``trtqat.tune`` refuses before it builds anything, and the graphs that it builds from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import trtqat
from tests.support.examples import exported
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.errors import DataError, GraphError, MissingError, UsageError
from trtqat.evaluation.intervals import Interval, Ratio
from trtqat.evaluation.timing import LatencyOptions
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.host.tensorrt_library import load_rtx
from trtqat.report.tune_words import closing_lines, verdict_table
from trtqat.search.speed import tuning
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.logged_trials import Measured
from trtqat.search.speed.options import TuneOptions, parse_seconds
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.tuning import measured_batch, tune
from trtqat.search.speed.within_target import Counted
from trtqat.tensors import TensorSpec
from trtqat.typed_json import as_fields, json_text


def workshop(name: str, folder: Path) -> EngineWorkshop:
    path, _ = exported(name, folder)
    model = read_model(path)
    infer_shapes(model)
    options = BuildOptions(for_="rtx")
    return EngineWorkshop(path, regions_of(model), options, 1, "random", LatencyOptions(), folder)


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


def test_of_a_batch_range_the_optimum_is_measured() -> None:
    batch, profile = measured_batch([images(-1)], (1, 16, 64))
    assert (batch, profile.batch) == (16, (16, 16, 16))
    assert measured_batch([images(-1)], None)[0] == 32


def test_a_fixed_batch_is_measured_as_it_is() -> None:
    assert measured_batch([images(8)], None) == (8, ProfileOptions())
    assert measured_batch([images(8)], (1, 8, 32))[0] == 8
    with pytest.raises(UsageError, match="fixed batch of 8, not 16"):
        measured_batch([images(8)], (16, 16, 16))


def test_other_dynamic_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match="besides the batch"):
        measured_batch([images(-1, 3, -1, -1)], None)
    with pytest.raises(UsageError, match="fixed batch"):
        measured_batch([images(-1), TensorSpec("mask", (4, 4))], None)


class Card:
    """Stands for builder and GPU: the first region gains by floating point, but costs accuracy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed_at: int | None = None
        self.made: list[Assignment] = []
        monkeypatch.setattr(tuning, "_check_host", lambda: None)
        monkeypatch.setattr(tuning, "_key", lambda *_: "key")
        # Functions, so that they are the workshop's own methods.
        for name in ("make", "compare", "count"):
            method = getattr(self, name)
            monkeypatch.setattr(EngineWorkshop, name, lambda *given, method=method: method(*given))

    def costs(self, made: EngineWorkshop, floats: Assignment) -> dict[int, float]:
        return {at: 1.0 + ((at in floats) != (at == 0)) for at in range(len(made.regions))}

    def make(self, made: EngineWorkshop, floats: Assignment) -> Measured:
        if len(self.made) == self.killed_at:
            raise KeyboardInterrupt
        self.made.append(floats)
        costs = self.costs(made, floats)
        return Measured(sum(costs.values()), costs)

    def compare(self, made: EngineWorkshop, one: Assignment, other: Assignment) -> Ratio:
        times = [sum(self.costs(made, each).values()) for each in (one, other)]
        value = times[1] / times[0]
        return Ratio(value, Interval(value * 0.999, value * 1.001), 9)

    def count(self, made: EngineWorkshop, floats: Assignment) -> Counted:
        return Counted({frozenset({0}): 80, frozenset(): 88}.get(floats, 90), 100)


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
    assert [each.name for each in result.verdict] == ["INT8 as exported", "FP16", "tuned"]
    assert result.verdict[-1].floats == result.regions[:1]
    assert all(each.counted is None for each in result.verdict)
    pairs = {name: graph_pairs(each) for name, each in (("before", path), ("after", output))}
    assert 0 < pairs["after"] < pairs["before"]
    assert not (tmp_path / "tuned.onnx.tune").exists()
    json_text(as_fields(result))
    _, columns, rows = verdict_table(result)
    assert all(len(row) == len(columns) for row in rows)
    assert any("in floating point are" in line for line in closing_lines(result))


def graph_pairs(path: Path) -> int:
    return sum(node.op_type == "DequantizeLinear" for node in read_model(path).graph)


def test_an_accuracy_target_is_held_and_told(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    data = data_for("residual", tmp_path, labels=True)
    options = TuneOptions(data=data, max_drop_points=5.0)
    result = tune(path, tmp_path / "tuned.onnx", options)
    assert result.verdict[-1].floats == ()
    assert [each.counted and each.counted.right for each in result.verdict] == [88, 90, 88]
    _, columns, rows = verdict_table(result)
    assert columns[-1] == "top-1"
    assert [row[-1] for row in rows] == ["88.00 %", "90.00 %", "88.00 %"]
    assert any("within 5 points" in line for line in closing_lines(result))
    none = tune(path, tmp_path / "none.onnx", replace(options, max_drop_points=0.0))
    assert none.verdict[-1].floats == none.regions
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
