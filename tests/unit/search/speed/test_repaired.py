"""Exact repairs come first: the search goes on from the repaired graph where that is faster."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

import trtqat
from tests.support.examples import exported
from tests.support.graphs import Graph, run
from tests.support.rtx_graphs import rtx_or_skip
from tests.support.tuned import Card, asked, data_for, graph_pairs, options_of
from trtqat.building.options import BuildOptions
from trtqat.cli.app import app
from trtqat.evaluation.timing import LatencyOptions
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph_file.reading import read_model
from trtqat.report.tune_words import closing_lines, verdict_table
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.folder import is_ours
from trtqat.search.speed.forms import Candidate, Form
from trtqat.search.speed.options import TuneOptions
from trtqat.search.speed.searched_graph import read_searched, regions_to_search
from trtqat.search.speed.tuning import TuneResult, tune


def behind_a_pool(folder: Path) -> Path:
    """A pair behind a MaxPool, which can stand before it, in front of which nothing is INT8."""
    graph = Graph((1, 4, 8, 8))
    first = graph.node("Relu", [graph.conv(graph.pair("x", 0.05), "first")], "relu")
    pooled = graph.node("MaxPool", [first], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    second = graph.node("Relu", [graph.conv(graph.pair(pooled, 0.05), "second")], "relu_2")
    graph.conv(graph.pair(second, 0.05), "y")
    path = folder / "pool.onnx"
    onnx.save(graph.proto("y"), path)
    return path


def outputs(path: Path) -> list[bytes]:
    model = read_model(path)
    random = np.random.default_rng(0)
    inputs = {
        str(value.name): random.normal(
            size=[dim if isinstance(dim, int) else 2 for dim in value.shape or ()]
        ).astype(np.float32)
        for value in model.graph.inputs
    }
    return [each.tobytes() for each in run(model, inputs)]


def lines_of(result: TuneResult) -> str:
    return " ".join(closing_lines(result))


@pytest.mark.parametrize("name", ["residual", "attention"])
def test_a_faster_repaired_graph_is_gone_on_from(name: str, tmp_path: Path, card: Card) -> None:
    card.repaired, card.first_gains = 0.8, False
    path, _ = exported(name, tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions(build=asked("8")))
    assert [each.name for each in result.verdict] == [
        *("INT8 as exported", "INT8, repaired", "FP16", "tuned")
    ]
    assert result.tuned.form.is_repaired
    assert result.tuned.times == result.verdict[1].times
    assert graph_pairs(output) < graph_pairs(path)
    assert outputs(output) == outputs(path)
    assert [each.name for each in result.repairs] == ["share-pairs"]
    assert "its pairs are repaired" in lines_of(result)
    assert result.repairs[0].what in lines_of(result)
    # One build more than both ends and the levers on the answer.
    assert [each.form.is_repaired for each in card.made[:3]] == [False, True, True]
    assert len(card.made) == 5


@pytest.mark.parametrize("slower", [1.0, 1.2])
def test_of_equals_the_graph_stays_as_it_was(slower: float, tmp_path: Path, card: Card) -> None:
    card.repaired, card.first_gains = slower, False
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions(build=asked("8")))
    assert not result.tuned.form.is_repaired
    assert graph_pairs(output) == graph_pairs(path)
    assert "were not seen to make it faster, and are left out" in lines_of(result)
    assert "the graph is what it was" in lines_of(result)
    assert sum(each.form.is_repaired for each in card.made) == 1


def test_where_nothing_is_to_be_repaired_nothing_more_is_built(tmp_path: Path, card: Card) -> None:
    path, _ = exported("depthwise", tmp_path)
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions())
    assert result.repairs == ()
    assert not any(each.form.is_repaired for each in card.made)
    assert "INT8, repaired" not in [each.name for each in result.verdict]
    assert "repair" not in lines_of(result)


def test_regions_are_those_of_the_repaired_graph(tmp_path: Path, card: Card) -> None:
    """The pair belongs to the pool there, and to another region."""
    path = behind_a_pool(tmp_path)
    exported, repaired = (
        regions_to_search(read_searched(path, is_repaired=each)[0]) for each in (False, True)
    )
    assert [each.nodes for each in exported] != [each.nodes for each in repaired]
    card.repaired = 0.8
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions())
    assert [each.name for each in result.repairs] == ["move-pairs"]
    assert {each.name for each in result.regions} == {each.name for each in repaired}
    # The first region gains by floating point, in the repaired graph as well.
    assert result.tuned.floats == (repaired[0].name,)
    made = read_model(tmp_path / "tuned.onnx")
    (pool,) = (node for node in made.graph if node.op_type == "MaxPool")
    before = pool.inputs[0].producer() if pool.inputs[0] is not None else None
    assert before is not None
    assert before.op_type == "DequantizeLinear"


def test_floating_point_throughout_is_the_same_of_both_graphs(tmp_path: Path, card: Card) -> None:
    card.at_batch, card.repaired = {1: 9.0, 32: 9.0}, 0.8
    for path in (behind_a_pool(tmp_path), exported("residual", tmp_path)[0]):
        output = tmp_path / "tuned.onnx"
        # The one has a fixed batch of 1.
        result = tune(path, output, TuneOptions())
        assert graph_pairs(output) == 0
        assert len(result.tuned.floats) == len(result.regions)
        # Nothing is left that could have been repaired.
        assert result.repairs
        assert "repair" not in lines_of(result)
        plain = read_model(path)
        remove_quantization(plain)
        onnx.save(ir.to_proto(plain), tmp_path / "plain.onnx")
        assert outputs(output) == outputs(tmp_path / "plain.onnx")


def test_what_loses_in_the_plan_that_is_handed_out_is_not_handed_out(
    tmp_path: Path, card: Card
) -> None:
    """Faster at one batch alone, and slower than INT8 as exported with the profiles asked for."""
    card.repaired, card.first_gains = 0.9, False
    card.lever = lambda form: 1.5 if form.is_repaired and form.batches != ("8",) else 1.0
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = tune(path, output, TuneOptions(build=asked("1:8:16")))
    assert (result.tuned.form.is_repaired, result.tuned.floats) == (False, ())
    assert result.tuned.form.batches == ("1:8:16",)
    assert graph_pairs(output) == graph_pairs(path)
    assert options_of(output).batches == ("1:8:16",)


def test_a_repaired_graph_that_is_not_built_is_left_out(tmp_path: Path, card: Card) -> None:
    card.repaired, card.first_gains = 0.5, False
    card.refuses = lambda one: one.form.is_repaired
    path, _ = exported("residual", tmp_path)
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions(build=asked("8")))
    assert not result.tuned.form.is_repaired
    assert "TensorRT does not build or run it" in lines_of(result)
    card.refuses = lambda one: not one.form.is_repaired
    other = tune(path, tmp_path / "other.onnx", TuneOptions(build=asked("8")))
    assert other.tuned.form.is_repaired
    assert [each.name for each in other.verdict] == ["INT8, repaired", "FP16", "tuned"]


def test_the_budget_is_kept(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    options = TuneOptions(build=asked("8"), most_builds=2)
    result = tune(path, tmp_path / "tuned.onnx", options)
    assert (result.builds, result.is_complete) == (2, False)
    assert "no build was left for repairs" in lines_of(result)
    card.repaired = 0.5
    result = tune(path, tmp_path / "tuned.onnx", replace(options, most_builds=3))
    assert result.builds == 3
    assert result.tuned.form.is_repaired


def test_both_graphs_are_counted_where_accuracy_is_asked_for(tmp_path: Path, card: Card) -> None:
    card.repaired = 0.8
    path, _ = exported("residual", tmp_path)
    data = data_for("residual", tmp_path, labels=True)
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions(data=data, max_drop_points=5.0))
    rows = verdict_table(result)[2]
    assert [row[-1] for row in rows[:3]] == ["88.00 %", "88.00 %", "90.00 %"]
    assert result.tuned.form.is_repaired
    assert result.tuned.floats == ()


def test_however_often_it_is_killed_the_repaired_graph_is_built_once(
    tmp_path: Path, card: Card
) -> None:
    card.repaired = 0.8
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    expected = tune(path, tmp_path / "whole.onnx", TuneOptions())
    assert expected.tuned.form.is_repaired
    whole = list(card.made)
    card.made.clear()
    for killed_at in range(len(whole)):
        card.killed_at = killed_at
        with pytest.raises(KeyboardInterrupt):
            tune(path, output, TuneOptions())
    kept = json.loads((tmp_path / "tuned.onnx.tune" / "log.json").read_text())
    assert [each["name"] for each in kept["repairs"]] == ["share-pairs"]
    card.killed_at = None
    result = tune(path, output, TuneOptions())
    assert card.made == whole
    assert (result.verdict, result.repairs) == (expected.verdict, expected.repairs)
    assert output.read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert not (tmp_path / "tuned.onnx.tune").exists()


def test_the_command_names_both_and_logs_what_was_repaired(tmp_path: Path, card: Card) -> None:
    card.repaired = 0.8
    path, _ = exported("residual", tmp_path)
    command = ["tune", str(path), "-o", str(tmp_path / "tuned.onnx"), "--batch", "8"]
    done = CliRunner().invoke(app, [*command, "--json", str(tmp_path / "log.json")])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "log.json").read_text())
    (made,) = record["repairs"]
    assert made["name"] == "share-pairs"
    assert "became one" in made["what"]
    assert record["verdict"][-1]["form"]["is_repaired"] is True
    assert {each["form"]["is_repaired"] for each in record["tries"]} == {False, True}
    done = CliRunner().invoke(app, command)
    assert "INT8, repaired" in done.output
    assert "became one" in " ".join(done.output.split())


@pytest.mark.parametrize("name", ["residual", "attention", "pool"])
def test_the_builder_sees_all_of_the_repaired_graph_in_int8(name: str, tmp_path: Path) -> None:
    """TensorRT for RTX really builds it, without running it."""
    rtx_or_skip()
    path = behind_a_pool(tmp_path) if name == "pool" else exported(name, tmp_path)[0]
    regions = regions_to_search(read_searched(path, is_repaired=False)[0])
    model, repairs = read_searched(path, is_repaired=True)
    assert repairs
    repaired = regions_to_search(model)
    folder = tmp_path / "folder"
    folder.mkdir()
    options = BuildOptions(for_="rtx")
    made = EngineWorkshop(path, regions, options, [1], "random", LatencyOptions(), folder, repaired)
    everything = {layer for region in repaired for layer in region.layers}
    form = Form(is_repaired=True)
    for floats in ((), (0,)):
        built = trtqat.build(made.graph_of(floats, form), tmp_path / "m.engine", for_="rtx")
        assert built.coverage is not None
        wanted = everything - {layer for place in floats for layer in repaired[place].layers}
        assert {layer.name for layer in built.coverage.wanted} == wanted
        assert built.coverage.missed == ()
    assert made.plan_of(Candidate((), form)) != made.plan_of(Candidate((), Form()))
    assert all(map(is_ours, folder.iterdir()))
