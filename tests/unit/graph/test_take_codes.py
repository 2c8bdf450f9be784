"""Inputs as INT8 codes: the host's quantization is ONNX's, and the graph computes the same."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper
from torch import nn

import trtqat as package
from tests.support import models
from tests.support.examples import exported
from tests.support.graphs import Graph
from trtqat.errors import GraphError, UsageError
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.quantized_input import with_quantized_inputs
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph.passes.take_codes import take_codes
from trtqat.graph_file.reading import read_model
from trtqat.numerics import quantize
from trtqat.provenance import Provenance, provenance_of, read_provenance
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.runtime import host_quantizer
from trtqat.runtime.host_quantizer import open_quantizer
from trtqat.runtime.input_codes import input_scales, quantize_inputs
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array, TensorSpec


def quantizer(scale: float) -> OnnxModel:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
    y = helper.make_tensor_value_info("y", TensorProto.INT8, [None])
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
        helper.make_tensor("zero", TensorProto.INT8, [], [0]),
    ]
    node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return OnnxModel(model.SerializeToString(), as_written=True)


@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e4, 1e4, width=32)),
    st.floats(2**-10, 2**5, width=32),
)
def test_codes_are_those_of_onnx(x: Array, scale: float) -> None:
    # Halves of a step too, where rounding is decided by evenness.
    x = np.concatenate([x, np.arange(-300, 300, dtype=np.float32) * np.float32(scale) / 2])
    expected = quantizer(scale).session(1).run({"x": x})["y"]
    np.testing.assert_array_equal(quantize(x, scale), expected)


def test_codes_of_a_large_array_that_is_not_contiguous() -> None:
    # More than two pieces of those that it is quantized in.
    x = np.random.default_rng(0).normal(size=(3, 600, 700)).astype(np.float32).transpose(2, 0, 1)
    expected = np.clip(np.rint(x / np.float32(0.03)), -128, 127)
    np.testing.assert_array_equal(quantize(x, 0.03), expected)


def test_codes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        quantize(np.zeros((1, 3, 2, 2), np.float32), 1.0, out=np.zeros((1, 2, 2, 3), np.int8))


@pytest.mark.parametrize("numpy_only", [True, False])
@given(
    arrays.arrays(
        st.sampled_from([np.dtype(each) for each in ("f2", "f4", "f8", ">f4")]),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
        elements=st.floats(-1e4, 1e4, width=16),
    ),
    st.floats(2**-10, 2**5, width=32),
)
def test_a_session_writes_the_same_codes(numpy_only: bool, x: Array, scale: float) -> None:
    run = open_quantizer(scale, numpy_only=numpy_only)
    out = np.full(x.shape, 77, np.int8)
    run(x, out)
    np.testing.assert_array_equal(out, quantize(x.astype(np.float32), scale))
    flipped = np.full(x.T.shape, 77, np.int8)
    run(x.T, flipped)
    np.testing.assert_array_equal(flipped, out.T)


@pytest.mark.parametrize("numpy_only", [True, False])
def test_codes_go_nowhere_else(numpy_only: bool) -> None:
    run = open_quantizer(0.5, numpy_only=numpy_only)
    x = np.ones(4, np.float32)
    memory = np.zeros(16, np.int8)
    constant = np.zeros(4, np.int8)
    constant.flags.writeable = False
    for out in (memory[::4], constant, np.zeros(4, np.float32)):
        with pytest.raises(ValueError, match="contiguous and writeable"):
            run(x, out)
    with pytest.raises(ValueError, match="shapes differ"):
        run(x, memory)
    assert not memory.any()
    run(x, memory[4:8])
    np.testing.assert_array_equal(memory, [0] * 4 + [2] * 4 + [0] * 8)


def test_onnx_runtime_quantizes_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object, **options: object) -> Array:
        raise AssertionError("NumPy was used")

    monkeypatch.setattr(host_quantizer, "quantize", never)
    out = np.zeros(2, np.int8)
    open_quantizer(0.5)(np.array([1, 100], np.float32), out)
    np.testing.assert_array_equal(out, [2, 127])


def test_several_threads_share_a_quantizer() -> None:
    run = open_quantizer(0.03)
    batches = [np.random.default_rng(seed).normal(size=(3, 999)) for seed in range(40)]

    def codes(x: Array) -> Array:
        out = np.zeros(x.shape, np.int8)
        run(x, out)
        return out

    with ThreadPoolExecutor(8) as pool:
        for x, found in zip(batches, pool.map(codes, batches), strict=True):
            np.testing.assert_array_equal(found, quantize(x, 0.03))


@pytest.mark.parametrize("fault", [ImportError("no such module"), TypeError("descriptors differ")])
def test_numpy_quantizes_where_onnx_runtime_is_broken(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import onnxruntime

    def fails(*arguments: object, **options: object) -> None:
        raise fault

    monkeypatch.setattr(onnxruntime, "InferenceSession", fails)
    out = np.zeros(2, np.int8)
    with caplog.at_level("INFO", "trtqat"):
        open_quantizer(0.5)(np.array([1, 100], np.float32), out)
    np.testing.assert_array_equal(out, [2, 127])
    assert str(fault) in caplog.text


@pytest.mark.parametrize("scale", [0, -1.0, "nan", "inf", "-inf"])
def test_scales_that_are_none_are_not_taken(scale: object) -> None:
    spec = TensorSpec("x", (-1, 4), "int8")
    assert input_scales([spec], provenance_of({"quantized_inputs": {"x": scale}})) == {}


def test_codes_that_somebody_else_defined_stay(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.INT8, [None, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("zero", TensorProto.INT8, [], [3]),
    ]
    node = helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["y"], name="dq")
    graph = helper.make_graph([node], "g", [x], [y], constants)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    with pytest.raises(GraphError, match="'dq' reads codes that are computed"):
        remove_quantization(read_model(path))


def test_codes_go_where_they_are_told() -> None:
    out = np.zeros((2, 3), np.int8)
    assert quantize(np.full((2, 3), 5.0, np.float32), 2.0, out=out) is out
    np.testing.assert_array_equal(out, 2)


@pytest.mark.parametrize("name", ["residual", "depthwise", "two_inputs"])
def test_the_graph_computes_the_same_from_codes(name: str, tmp_path: Path) -> None:
    example = models.EXAMPLES[name]
    plain, _ = exported(name, tmp_path)
    codes, _ = exported(name, tmp_path, quantized_input=True)
    first, second = OnnxModel(plain, as_written=True), OnnxModel(codes, as_written=True)
    assert first.inputs == second.inputs
    recorded = json.loads({p.key: p.value for p in onnx.load(str(codes)).metadata_props}["trtqat"])[
        "quantized_inputs"
    ]
    assert recorded
    inputs = {
        spec.name: x.numpy() for spec, x in zip(example.inputs, example.batch(3), strict=True)
    }
    expected = first.session(3).run(inputs)
    for given_inputs in (inputs, quantize_inputs(inputs, recorded)):
        found = second.session(3).run(given_inputs)
        for output, array in expected.items():
            np.testing.assert_array_equal(found[output], array)


@pytest.mark.parametrize("first", [nn.Flatten(), nn.MaxPool2d(2)])
def test_what_only_moves_values_may_stand_before_the_first_layer(
    first: nn.Module, tmp_path: Path
) -> None:
    x = torch.randn(8, 3, 4, 4)
    layer = nn.Linear(48, 5) if isinstance(first, nn.Flatten) else nn.Conv2d(3, 5, 1)
    model = nn.Sequential(first, layer).eval()
    insert_quantizers(model)
    calibrate(model, [x])
    options = ExportOptions((TensorSpec("input", (1, 3, 4, 4)),), quantized_input=True)
    result = export_onnx(model, tmp_path / "m.onnx", options)
    assert result.quantized_inputs.keys() == {"input"}
    graph = OnnxModel(result.path, as_written=True)
    found = graph.session(8).run({"input": x.numpy()})["output"]
    np.testing.assert_allclose(found, model(x).detach().numpy(), atol=1e-5)


def test_inputs_one_after_the_other(tmp_path: Path) -> None:
    """One input is codes already; another one becomes so, or cannot."""
    example = models.EXAMPLES["two_inputs"]
    path, _ = exported("two_inputs", tmp_path)
    batch = {spec.name: x.numpy() for spec, x in zip(example.inputs, example.batch(2), strict=True)}
    options = ExportOptions((), quantized_input=True)
    model = read_model(path)
    found = with_quantized_inputs(model, options, [batch], {"earlier": 0.5})
    assert found.keys() == {"earlier", *batch}
    codes = quantize_inputs(batch, found)
    again = with_quantized_inputs(model, options, [codes], found)
    assert again == found
    with pytest.raises(GraphError, match="No input can be taken as INT8 codes"):
        with_quantized_inputs(model, options, [codes], {})


@pytest.mark.parametrize("again", [True, False])
def test_scales_survive_another_export(again: bool, tmp_path: Path) -> None:
    example = models.EXAMPLES["residual"]
    second = tmp_path / "second.onnx"
    first, _ = exported("residual", tmp_path, quantized_input=True)
    result = improve_onnx(first, second, ExportOptions((), quantized_input=again))
    one, two = (OnnxModel(path, as_written=True) for path in (first, second))
    assert two.inputs == one.inputs == (TensorSpec("x", (-1, 3, 16, 16)),)
    assert result.quantized_inputs.keys() == {"x"}
    x = {"x": example.batch(3)[0].numpy()}
    for name, expected in one.session(3).run(x).items():
        np.testing.assert_array_equal(two.session(3).run(x)[name], expected)
    with pytest.raises(UsageError, match="'x' takes INT8 codes"):
        improve_onnx(first, tmp_path / "half.onnx", ExportOptions((), opset=19, precision="fp16"))
    assert not (tmp_path / "half.onnx").exists()


def test_from_an_onnx_file_and_back_to_float(tmp_path: Path) -> None:
    example = models.EXAMPLES["residual"]
    codes = tmp_path / "codes.onnx"
    plain, _ = exported("residual", tmp_path)
    improve_onnx(plain, codes, ExportOptions((), quantized_input=True))
    model = read_model(codes)
    dtypes = [model.graph.inputs[0].dtype]
    remove_quantization(model)
    dtypes.append(model.graph.inputs[0].dtype)
    assert dtypes == [ir.DataType.INT8, ir.DataType.FLOAT]
    proto: onnx.ModelProto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    # Though its metadata still speaks of codes, a float input is not quantized.
    x = example.batch(2)[0].numpy()
    floats = OnnxModel(proto.SerializeToString(), as_written=True).session(2).run({"x": x})
    both = OnnxModel(plain, as_written=True).session(2).run({"x": x})
    name = next(iter(both))
    assert not np.array_equal(floats[name], both[name])
    np.testing.assert_allclose(floats[name], both[name], atol=0.3 * abs(both[name]).max())


def test_an_input_that_a_float_layer_reads(tmp_path: Path) -> None:
    plain, _ = exported("residual", tmp_path)
    model = read_model(plain)
    remove_quantization(model)
    with pytest.raises(GraphError, match=r"'x' is read by '.*' \(Conv\)") as error:
        take_codes(model)
    assert "--quantized-input" in error.value.remedy


def test_codes_that_are_an_output_stay() -> None:
    graph = Graph((2, 3))
    graph.node("Relu", [graph.pair("x", 0.1)], "y")
    with pytest.raises(GraphError, match="the codes of 'x' are an output, too"):
        take_codes(graph.model("y", "x.q"))


def test_an_input_that_a_branch_quantizes_stays_float() -> None:
    graph = Graph((2, 3))
    graph.node("Relu", [graph.pair("x", 0.1)], "y")
    graph.constant("condition", np.array(True))
    branches = {
        f"{which}_branch": helper.make_graph(
            [
                helper.make_node(
                    "QuantizeLinear", ["x", "x.scale", "x.zero_point"], [f"{which}.q"]
                ),
                helper.make_node(
                    "DequantizeLinear", [f"{which}.q", "x.scale", "x.zero_point"], [which]
                ),
            ],
            which,
            [],
            [helper.make_tensor_value_info(which, TensorProto.FLOAT, (2, 3))],
        )
        for which in ("then", "else")
    }
    graph.node("If", ["condition"], "z", **branches)
    with pytest.raises(GraphError, match="'x' is quantized inside of a branch or loop"):
        take_codes(graph.model("y", "z"))


def test_half_precision_has_no_codes(tmp_path: Path) -> None:
    example = models.EXAMPLES["residual"]
    options = ExportOptions(example.inputs, opset=19, precision="fp16", quantized_input=True)
    with pytest.raises(UsageError, match="--quantized-input is for FP32"):
        export_onnx(example.qat(), tmp_path / "m.onnx", options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", ["", "[]", "3", '{"quantized_inputs": 3}', "{}", '{"a": 1}'])
def test_records_that_say_nothing(record: str) -> None:
    assert input_scales([TensorSpec("x", (1,), "int8")], read_provenance(record)) == {}


def test_only_inputs_that_are_int8_have_a_scale() -> None:
    specs = [TensorSpec("x", (1,), "int8"), TensorSpec("y", (1,), "float32")]
    recorded = Provenance(quantized_inputs={"x": 0.5, "y": 0.5, "z": 0.5})
    assert input_scales(specs, recorded) == {"x": 0.5}


def test_a_shape_is_read_behind_the_pair(tmp_path: Path) -> None:
    """As a vision transformer repeats its class token for each sample."""
    graph = Graph(("N", 3, 6, 6))  # type: ignore[arg-type]
    axis, first, last = (graph.constant(f"at{n}", np.array([n], np.int64)) for n in (0, 0, 1))
    batch = graph.node("Slice", [graph.node("Shape", ["x"], "shape"), first, last, axis], "batch")
    token = graph.constant("token", np.ones((1, 4, 6, 6), np.float32))
    sizes = graph.constant("sizes", np.array([4, 6, 6], np.int64))
    repeated = graph.node("Concat", [batch, sizes], "repeated", axis=0)
    convolved = graph.conv(graph.pair("x", 0.05), "convolved", (4, 3))
    graph.node("Add", [convolved, graph.node("Expand", [token, repeated], "tokens")], "y")
    onnx.save(graph.proto("y"), str(tmp_path / "m.onnx"))

    codes = package.export(tmp_path / "m.onnx", tmp_path / "codes.onnx", quantized_input=True)
    assert codes.quantized_inputs == {"x": np.float32(0.05)}
    pixels = {"pixels": ["x:nhwc"], "mean": (0.5,), "std": (0.25,), "for_": "rtx"}
    taken = package.export(tmp_path / "m.onnx", tmp_path / "bytes.onnx", **pixels)  # type: ignore[arg-type]
    assert taken.pixels["x"].is_quantized
