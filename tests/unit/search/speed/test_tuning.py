"""What ``trtqat.tune`` refuses before it builds anything, and the graphs that it builds from."""

from __future__ import annotations

from pathlib import Path

import pytest

import trtqat
from tests.support.examples import exported
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.errors import GraphError, MissingError, UsageError
from trtqat.evaluation.timing import LatencyOptions
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.host.tensorrt_library import load_rtx
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.options import TuneOptions, parse_seconds
from trtqat.search.speed.tuning import measured_batch, tune
from trtqat.tensors import TensorSpec


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
