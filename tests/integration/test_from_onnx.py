"""ONNX files of other tools: what is odd about them does not keep them from the passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.support.graphs import Graph, batch_norm
from trtqat.errors import ExportError, GraphError, SourceError
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.numerics import difference
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import TensorSpec


def improve(
    proto: onnx.ModelProto, folder: Path, *inputs: TensorSpec, opset: int = 17
) -> ExportResult:
    onnx.save(proto, str(folder / "source.onnx"))
    options = ExportOptions(inputs, opset=opset)
    return improve_onnx(folder / "source.onnx", folder / "better.onnx", options)


def folds() -> Graph:
    """A convolution and its BatchNorm, whose weight is called as PyTorch calls it at the top."""
    graph = Graph((2, 4, 5, 5))
    data = graph.pair("x", 0.05)
    weight = np.random.default_rng(0).normal(size=(4, 4, 1, 1)).astype(np.float32)
    graph.constant("weight", weight)
    pair = graph.pair("weight", np.abs(weight).max((1, 2, 3)) / 127, 0)
    graph.node("Conv", [data, pair], "conv")
    graph.batch_norm("conv", batch_norm(4), "norm")
    return graph


def test_tensors_with_the_names_that_the_passes_choose(tmp_path: Path) -> None:
    graph = folds()
    graph.inputs["bias"] = (2, 4, 5, 5)
    graph.node("Add", ["norm", "bias"], "weight.codes")
    graph.node("Relu", ["weight.codes"], "y")
    result = improve(graph.proto("y"), tmp_path)
    assert result.batch_norms is not None
    assert result.batch_norms.count == 1
    onnx.checker.check_model(str(result.path), full_check=True)
    assert [spec.name for spec in OnnxModel(result.path).inputs] == ["x", "bias"]


def test_initializers_that_are_inputs_as_well(tmp_path: Path) -> None:
    proto = folds().proto("norm")
    for initializer in proto.graph.initializer:
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(
                initializer.name, initializer.data_type, initializer.dims
            )
        )
    result = improve(proto, tmp_path)
    assert result.batch_norms is not None
    assert result.batch_norms.count == 1
    assert [spec.name for spec in OnnxModel(result.path).inputs] == ["x"]


def test_biases_in_int32(tmp_path: Path) -> None:
    """As quantize_static writes them: float again, they let the BatchNorm fold."""
    graph = folds()
    conv = next(node for node in graph.nodes if node.op_type == "Conv")
    graph.constant("bias_quantized", np.array([70000, -3, 0, 9], np.int32))
    graph.constant("bias_scale", np.array([1e-5, 2e-2, 3e-3, 0.1], np.float32))
    graph.node("DequantizeLinear", ["bias_quantized", "bias_scale"], "bias", axis=0)
    graph.nodes.insert(0, graph.nodes.pop())
    conv.input.append("bias")
    result = improve(graph.proto("norm"), tmp_path)
    assert result.batch_norms is not None
    assert result.batch_norms.count == 1
    assert result.notes == ("INT32 biases made float: 1; TensorRT dequantizes INT8 alone.",)
    assert not result.warnings


@pytest.mark.parametrize(("opset", "stored"), [(17, TensorProto.FLOAT), (19, TensorProto.INT8)])
def test_weights_are_stored_for_the_opset_that_is_written(
    opset: int, stored: int, tmp_path: Path
) -> None:
    """TensorRT 8.6 takes no INT8 initializer for a MatMul, and reads opset 17 at most."""
    graph = Graph((2, 4))
    graph.constant("w", np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    graph.node("MatMul", [graph.pair("x", 0.05), graph.pair("w", np.full(4, 0.02), 1)], "y")
    result = improve(graph.proto("y"), tmp_path, opset=opset)
    weights = [i for i in onnx.load(str(result.path)).graph.initializer if list(i.dims) == [4, 4]]
    assert [weight.data_type for weight in weights] == [stored]


def test_a_scale_of_each_query_has_no_form_in_fp16(tmp_path: Path) -> None:
    graph = Graph((2, 4, 5, 5))
    scale = graph.node("ReduceMax", [graph.node("Abs", ["x"], "abs")], "scale", keepdims=0)
    names = [scale, graph.constant("zero", np.array(0, np.int8))]
    graph.node("QuantizeLinear", ["x", *names], "q")
    graph.conv(graph.node("DequantizeLinear", ["q", *names], "dq"), "y")
    onnx.save(graph.proto("y"), str(tmp_path / "source.onnx"))
    options = ExportOptions((), opset=19, precision="fp16")
    with pytest.raises(GraphError, match="The scale of '/q' in") as caught:
        improve_onnx(tmp_path / "source.onnx", tmp_path / "half.onnx", options)
    assert "leave out --precision fp16" in caught.value.remedy


def test_shapes_that_the_file_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not x:2x4x9x9"):
        improve(folds().proto("norm"), tmp_path, TensorSpec("x", (2, 4, 9, 9)))


RAISED = [
    ExportOptions((), opset=19),
    ExportOptions((), opset=19, precision="fp16"),
    ExportOptions((), opset=19, for_="rtx"),
]


def before_opset_11(folder: Path, operator: str, *inputs: str, **attributes: int | str) -> Path:
    """A layer of opset 10, and an operator behind it."""
    graph = Graph((2, 3, 8, 8))
    weight = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    # No scales by channel yet.
    weights = graph.pair(graph.constant("w", weight), 0.02)
    layer = graph.node("Conv", [graph.pair("x", 0.02), weights], "layer", kernel_shape=[3, 3])
    graph.constant("by", np.array([1, 1, 2, 2], np.float32))
    graph.node(operator, [layer, *inputs], "y", **attributes)
    path = folder / "source.onnx"
    onnx.save(graph.proto("y", opset=10), path)
    return path


@pytest.mark.parametrize("options", RAISED, ids=["fp32", "fp16", "rtx"])
def test_an_older_resize_stays_what_it_was(options: ExportOptions, tmp_path: Path) -> None:
    source, written = before_opset_11(tmp_path, "Resize", "by", mode="linear"), tmp_path / "w.onnx"
    improve_onnx(source, written, options)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    expected, found = (
        OnnxModel(path, as_written=True).session(2).run({"x": x})["y"] for path in (source, written)
    )
    least_db = 40 if options.precision == "fp16" else 100
    assert difference(expected, found).sqnr_db > least_db


@pytest.mark.parametrize("options", RAISED, ids=["fp32", "fp16", "rtx"])
def test_what_the_converter_makes_another_of_is_refused(
    options: ExportOptions, tmp_path: Path
) -> None:
    source = before_opset_11(tmp_path, "Hardmax", axis=1)
    with pytest.raises(ExportError, match=r"in opset 19 .* in opset 10"):
        improve_onnx(source, tmp_path / "w.onnx", options)
    assert not (tmp_path / "w.onnx").exists()
