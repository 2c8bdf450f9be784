"""The plan that ``trtqat.tune`` hands out: its batches, its form and its options."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import trtqat
from tests.support.examples import exported
from tests.support.tuned import Card, asked, first_region, graph_pairs, options_of
from trtqat.errors import UsageError
from trtqat.evaluation.intervals import Interval
from trtqat.files import sha256_of
from trtqat.graph_file.reading import read_model
from trtqat.report.tune_words import closing_lines, verdict_table
from trtqat.search.speed.forms import Batches, Form
from trtqat.search.speed.options import TuneOptions
from trtqat.search.speed.tune_log import MeasuredTime
from trtqat.search.speed.tuning import tune
from trtqat.search.speed.within_target import Counted


def test_the_options_that_go_with_the_graph_are_written(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    result = trtqat.tune(path, output, batch="8", tactic_sources="-cudnn")
    tuned = options_of(output)
    assert result.options == tmp_path / "tuned.json"
    assert result.plan == tmp_path / "tuned.engine"
    assert result.plan.exists()
    assert card.handed_out is not None
    assert (card.handed_out.floats, card.handed_out.form) == ((0,), result.tuned.form)
    assert result.tuned.floats == (first_region(path),)
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
    assert [row[columns.index("batch")] for row in rows] == ["1", "32"] * 4
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
    assert result.promised_gain is not None
    promised = f"should take {100 * result.promised_gain:.1f} % less: "
    assert f"{promised}--most-builds 6 has room for it." in " ".join(closing_lines(result))
    late = replace(result, seconds=311.0, is_out_of_builds=False)
    assert f"{promised}--budget 6m has room for it." in " ".join(closing_lines(late))
    others = " ".join(closing_lines(replace(late, promised_gain=None)))
    assert "The budget ended the search: a longer one" in others
    made = list(card.made)
    # That many have room for it.
    more = tune(path, tmp_path / "more.onnx", replace(options, most_builds=6))
    assert more.promised_gain != result.promised_gain
    card.made[:] = made
    # With less than that the safest form is built all the same.
    card.made.clear()
    spent = tune(path, output, replace(options, most_builds=2))
    assert [each.form.batches for each in card.made[2:]] == [("8", "1:8:16")]
    assert spent.tuned.form.batches == ("8", "1:8:16")


def test_a_second_search_of_the_same_output_is_refused(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    output = tmp_path / "tuned.onnx"
    refused: list[str] = []

    def meanwhile(form: Form) -> float:
        if not refused:
            refused.append("asked")
            with pytest.raises(UsageError, match="Another search writes into"):
                trtqat.tune(path, output, batch="8")
            refused.append("refused")
        return 1.0

    card.lever = meanwhile
    trtqat.tune(path, output, batch="8")
    assert refused == ["asked", "refused"]
    assert output.exists()
    assert not (tmp_path / "tuned.onnx.tune").exists()


@pytest.mark.parametrize("none", ["none", Path("none")])
def test_a_search_without_a_timing_cache_is_refused(none: Path | str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a timing cache"):
        trtqat.tune(tmp_path / "m.onnx", tmp_path / "t.onnx", timing_cache=none)


def test_only_what_was_built_is_counted_as_built(tmp_path: Path, card: Card) -> None:
    """TensorRT refuses FP16: no region has two times, and that is why."""
    card.refuses = lambda one: bool(one.floats)
    path, _ = exported("residual", tmp_path)
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions(build=asked("8")))
    refused = [each for each in result.tries if each.time_ms is None]
    assert refused
    lines = " ".join(closing_lines(result))
    assert f"{result.builds - len(refused)} engines were built and measured in " in lines
    assert f"TensorRT did not build or run {len(refused)} more." in lines
    assert "in floating point: no engine in FP16 was built." in lines


def test_the_way_to_one_size_is_an_option_that_takes_it(tmp_path: Path, card: Card) -> None:
    card.wide = {True: 1.5, False: 1.5}
    card.several = {True: 1.1, False: 1.1}
    path, _ = exported("residual", tmp_path)
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions(build=asked("1:8:16,1:4:16")))
    assert "ms: give --batch 4,8 where that is all" in " ".join(closing_lines(result))
    sizes = ("x:4x3x8x16", "x:4x3x16x8")
    sized = replace(result, batches=Batches(sizes, sizes))
    lines = " ".join(closing_lines(sized))
    assert "give --shapes x:4x3x8x16 --shapes x:4x3x16x8 where that is all" in lines


def test_an_interval_is_not_rounded_away(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions(build=asked("8")))
    exact = MeasuredTime(0.25, Interval(0.2499, 0.2501))
    first, *others = result.verdict
    told = replace(result, verdict=(replace(first, times={8: exact}), *others))
    _, columns, rows = verdict_table(told)
    assert rows[0][columns.index("ms")] == "0.250 ±0.001"


@pytest.mark.parametrize(("right", "words"), [(99_996, "99.99 %"), (100_000, "100.00 %")])
def test_all_but_a_few_are_not_all(right: int, words: str, tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    result = tune(path, tmp_path / "tuned.onnx", TuneOptions(build=asked("8")))
    counted = tuple(replace(each, counted=Counted(right, 100_000)) for each in result.verdict)
    _, columns, rows = verdict_table(replace(result, verdict=counted))
    assert rows[0][columns.index("top-1")] == words


def test_what_builds_it_again_has_its_plugins(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    library = tmp_path / "lib plugins.so"
    library.write_bytes(b"a library")
    result = trtqat.tune(path, tmp_path / "tuned.onnx", batch="8", plugins=[library])
    assert list(closing_lines(result))[-1].endswith(f" --plugins '{library}'")
