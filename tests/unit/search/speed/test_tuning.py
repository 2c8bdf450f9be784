"""What ``trtqat.tune`` refuses before it builds anything, what it writes, and how it goes on."""

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

from tests.support.examples import exported
from tests.support.tuned import Card, asked, data_for, first_region, graph_pairs
from trtqat.cli.app import app
from trtqat.errors import DataError, GraphError, UsageError
from trtqat.report.tune_words import closing_lines, region_table, verdict_table
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.forms import Candidate
from trtqat.search.speed.options import TuneOptions
from trtqat.search.speed.tuning import tune
from trtqat.search.speed.within_target import Counted, Valued
from trtqat.typed_json import as_fields, json_text


def test_only_a_quantized_graph_can_be_tuned(tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    with pytest.raises(GraphError, match="There is no"):
        tune(plain, tmp_path / "tuned.onnx", TuneOptions())
    path, _ = exported("residual", tmp_path)
    with pytest.raises(UsageError, match="is the graph itself"):
        tune(path, path, TuneOptions())
    with pytest.raises(UsageError, match="missing"):
        tune(path, tmp_path / "missing" / "tuned.onnx", TuneOptions())


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


def test_a_name_that_is_the_plan_s_is_refused(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    with pytest.raises(UsageError, match="is where the plan goes"):
        tune(path, tmp_path / "tuned.engine", TuneOptions())
    with pytest.raises(UsageError, match="would overwrite an input"):
        tune(path.rename(tmp_path / "tuned.engine"), tmp_path / "tuned.onnx", TuneOptions())
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
    assert "tuned.engine: the plan that was measured" in done.output
    assert "to build it again: trtqat build" in done.output
    assert " -o " + str(tmp_path / "tuned-again.engine") in done.output
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
