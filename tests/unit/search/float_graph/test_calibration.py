"""Samples that ranges of a graph are chosen on, others to measure on, and the memory for it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.support.float_graphs import FloatFile, with_data, write_float
from tests.support.graphs import Graph, batch_norm
from trtqat.errors import DataError, QuantizerError, SourceError
from trtqat.report.quantize_words import opening_lines, tables
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.search.float_graph import observing

pytestmark = pytest.mark.usefixtures("one_thread")


def net(batch: int | str = "N") -> Graph:
    graph = Graph((batch, 8, 6, 6))  # type: ignore[arg-type]
    graph.conv("x", "a", (8, 8), quantized=False)
    graph.batch_norm("a", batch_norm(8), "n")
    graph.conv(graph.node("Relu", ["n"], "r"), "b", (8, 8), kernel=3, quantized=False)
    graph.node("GlobalAveragePool", ["b"], "y")
    return graph


def few(file: FloatFile, count: int) -> FloatFile:
    return with_data(file.graph, {name: each[:count] for name, each in file.arrays.items()})


def test_the_range_is_that_of_the_samples_that_were_chosen(tmp_path: Path) -> None:
    file = write_float(net(), tmp_path, "y")
    result = file.quantized(images=40, method="max")
    # 40 of 40 were asked for: one of eight is held out.
    assert (result.images, result.outputs[0].samples) == (35, 5)
    (first,) = (each for each in result.ranges if each.name == "a.input")
    held = range(4, 40, 8)
    chosen = np.delete(file.arrays["x"], held, 0)
    assert first.amax == pytest.approx(float(np.abs(chosen).max()), rel=1e-6)
    assert (first.minimum, first.maximum) == (chosen.min(), chosen.max())
    assert first.method == "max"
    assert first.clipped == 0


def test_a_batch_norm_goes_into_the_codes_that_were_chosen_before_it(tmp_path: Path) -> None:
    result = write_float(net(), tmp_path, "y").quantized()
    operators = [node.op_type for node in onnx.load(str(result.path)).graph.node]
    assert "BatchNormalization" not in operators
    assert [each for each in result.findings if each.severity == "warning"] == []
    assert result.outputs[0].sqnr_db > 25


@pytest.mark.parametrize("target", [None, "8.6", "10", "rtx"])
def test_weights_behind_bytes_are_float_where_8_6_may_read_it(
    tmp_path: Path, target: str | None
) -> None:
    graph = Graph(("N", 3, 6, 6))  # type: ignore[arg-type]
    graph.node("Cast", ["x"], "floats", to=onnx.TensorProto.FLOAT)
    graph.conv("floats", "y", (4, 3), quantized=False)
    proto = graph.proto("y")
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(proto, str(tmp_path / "float.onnx"))
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 6, 6), np.uint8)
    result = with_data(tmp_path / "float.onnx", {"x": images}).quantized(for_=target)
    is_float = target in (None, "8.6")
    weights = [each for each in onnx.load(str(result.path)).graph.initializer if len(each.dims) > 1]
    expected = onnx.TensorProto.FLOAT if is_float else onnx.TensorProto.INT8
    assert [each.data_type for each in weights] == [expected]
    assert any("Weights are float" in note for note in result.notes) is is_float
    assert [each for each in result.findings if each.severity == "warning"] == []


def test_one_sample_is_both_and_that_is_said(tmp_path: Path) -> None:
    result = few(write_float(net(), tmp_path, "y"), 1).quantized(images=512)
    assert (result.images, result.outputs[0].samples) == (1, 1)
    assert any("on the very samples that ranges were chosen on" in each for each in result.notes)
    assert any("has 1 samples, fewer than the 512" in each for each in result.notes)
    titles = [title for title, _, _ in tables(result, in_full=False)]
    assert titles[-1] == "the outputs against the float graph's, on the 1 samples of the ranges"
    several = few(write_float(net(), tmp_path, "y"), 2).quantized()
    assert (several.images, several.outputs[0].samples) == (1, 1)
    assert not any("very samples" in each for each in several.notes)
    titles = [title for title, _, _ in tables(several, in_full=False)]
    assert titles[-1] == "the outputs against the float graph's, on 1 samples held out"


def test_a_quantizer_that_saw_zeros_alone_is_told(tmp_path: Path) -> None:
    file = write_float(net(), tmp_path, "y")
    told = "saw zeros alone, so their ranges say nothing: "
    assert not any(told in line for line in opening_lines(file.quantized()))
    zeros = with_data(file.graph, {name: 0 * each for name, each in file.arrays.items()})
    result = zeros.quantized()
    assert any(line.startswith(f"{told}a.input") for line in opening_lines(result))
    rows = {row[0]: row for row in next(iter(tables(result, in_full=True)))[2]}
    assert rows["a.input"][3:6] == ["0", "0", "no signal"]


def test_a_fixed_batch_is_kept(tmp_path: Path) -> None:
    file = write_float(net(4), tmp_path, "y")
    result = file.quantized(images=23, batch_size=32)
    assert (result.images, result.outputs[0].samples) == (20, 16)
    graph = onnx.load(str(result.path)).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4
    assert result.int8_share == 1
    with pytest.raises(DataError, match="has 3 samples, but the graph takes 4 at once"):
        few(file, 3).quantized()


def test_a_fixed_batch_larger_than_what_is_held_out(tmp_path: Path) -> None:
    file = write_float(net(72), tmp_path, "y")
    many = with_data(file.graph, {"x": np.concatenate([file.arrays["x"]] * 4)})
    result = many.quantized(images=72)
    assert (result.images, result.outputs[0].samples) == (72, 72)
    assert not any("very samples" in each for each in result.notes)


def test_portions_and_small_batches_see_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_float(net(), tmp_path, "y")
    whole = file.quantized()
    # Less than one tensor of one sample: each tensor has runs of its own.
    monkeypatch.setattr(observing, "_BYTES_AT_ONCE", 64)
    runs: list[str] = []

    def counted(*args: Any, **kwargs: Any) -> OnnxModel:
        runs.append("run")
        return OnnxModel(*args, **kwargs)

    monkeypatch.setattr(observing, "OnnxModel", counted)
    apart = file.quantized()
    assert len(runs) == 1 + 2  # for the shapes; then x and r
    assert apart.ranges == whole.ranges


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    file = write_float(net(), tmp_path, "y")
    first = file.quantized().path.read_bytes()
    assert file.quantized().path.read_bytes() == first
    assert file.quantized(seed=1).path.read_bytes() != first


def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
    file = write_float(net(), tmp_path, "y")
    result = file.quantized(method="percentile", keep=["/b"])
    properties = onnx.load(str(result.path)).metadata_props
    recorded = json.loads({each.key: each.value for each in properties}["trtqat"])
    assert recorded["source"] == "float.onnx"
    assert len(recorded["source_sha256"]) == 64
    calibration = recorded["calibration"]
    assert calibration["data"] == "npz:data.npz"
    assert (calibration["images"], calibration["method"]) == (24, "percentile")
    assert (calibration["keep"], calibration["for"], calibration["seed"]) == (["/b"], None, 0)
    assert calibration["outputs"][0]["sqnr_db"] == result.outputs[0].sqnr_db
    assert recorded["io_names"] == {"inputs": ["x"], "outputs": ["y"], "returned": []}


def test_metadata_of_the_float_graph_stays(tmp_path: Path) -> None:
    file = write_float(net(), tmp_path, "y")
    for producer in ("pytorch", "paddle"):
        proto = onnx.load(str(file.graph))
        proto.producer_name = producer
        del proto.metadata_props[:]
        proto.metadata_props.add(key="character", value="a\nb")
        onnx.save(proto, str(file.graph))
        kept = onnx.load(str(file.quantized().path)).metadata_props
        assert {each.key: each.value for each in kept}["character"] == "a\nb"


def test_an_old_opset_is_raised(tmp_path: Path) -> None:
    result = write_float(net(), tmp_path, "y", opset=11).quantized()
    assert onnx.load(str(result.path)).opset_import[0].version == 13
    assert any("opset 11 was raised to 13" in each for each in result.notes)
    assert math.isfinite(result.outputs[0].sqnr_db)


def test_weights_of_products_are_codes_where_8_6_does_not_read_the_graph(tmp_path: Path) -> None:
    graph = Graph(("N", 4, 8))  # type: ignore[arg-type]
    weight = graph.constant("w", np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32))
    graph.node("MatMul", ["x", weight], "y")
    for opset, for_, stored in ((17, None, False), (17, "10", True), (20, None, True)):
        result = write_float(graph, tmp_path, "y", opset=opset).quantized(for_=for_)
        written = onnx.load(str(result.path)).graph
        types = {each.name: each.data_type for each in written.initializer}
        assert ("w.codes" in types) is stored, (opset, for_)
        assert any("TensorRT 8.6 does not read" in note for note in result.notes) == (opset == 20)


def test_height_and_width_of_one_unknown_name_may_differ(tmp_path: Path) -> None:
    graph = net()
    graph.shape = ("N", 8, "?", "?")  # type: ignore[assignment]
    path = tmp_path / "float.onnx"
    onnx.save(graph.proto("y"), str(path))
    data = {"x": np.random.default_rng(0).normal(size=(9, 8, 4, 12)).astype(np.float32)}
    result = with_data(path, data).quantized()
    dims = onnx.load(str(result.path)).graph.input[0].type.tensor_type.shape.dim
    assert [each.dim_param or each.dim_value for each in dims][1] == 8
    assert "?" not in [each.dim_param for each in dims]
    assert result.int8_share == 1


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    graph = net()
    graph.conv(graph.node("Log", ["y"], "log"), "z", (8, 8), quantized=False)
    with pytest.raises(QuantizerError, match=r"'z\.input' saw \d+ values that are not finite"):
        write_float(graph, tmp_path, "z").quantized()
    assert not (tmp_path / "int8.onnx").exists()


def test_an_output_whose_shape_the_data_decides(tmp_path: Path) -> None:
    graph = net()
    graph.node("Greater", ["y", graph.constant("limit", np.float32(0))], "large")
    graph.node("NonZero", ["large"], "where")
    result = write_float(graph, tmp_path, "where", "y").quantized()
    found = {each.name: each for each in result.outputs}
    assert found["y"].sqnr_db > 25
    where = found["where"]
    assert where.has_other_shapes == math.isnan(where.sqnr_db)
    assert where.has_other_shapes == any("'where' has a shape" in each for each in result.notes)


def test_inputs_are_checked(tmp_path: Path) -> None:
    file = write_float(net(), tmp_path, "y")
    with pytest.raises(SourceError, match="has no input 'image'"):
        file.quantized(inputs=["image:1x8x6x6"])
    with pytest.raises(SourceError, match="Input 'x' of the graph is"):
        file.quantized(inputs=["x:1x8x6x7"])
    with pytest.raises(DataError, match="no array"):
        with_data(file.graph, {"other": file.arrays["x"], "more": file.arrays["x"]}).quantized()
    with pytest.raises(DataError, match="samples of shape"):
        with_data(file.graph, {"x": file.arrays["x"][:, :, :5]}).quantized()
