"""ONNX Runtime adds the biases that a graph has, also where it would make INT32 codes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtqat.errors import GraphError
from trtqat.runtime.onnx_biases import keeps_biases
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array

_SHAPES = {"Conv": (4, 3, 3, 3), "ConvTranspose": (3, 4, 3, 3), "Gemm": (3, 4)}


def layer(
    operator: str = "Conv",
    *,
    half: bool = False,
    scale: float = 1e-3,
    bias: float = 0.5,
    computed: bool = False,
) -> onnx.ModelProto:
    """A layer between Q/DQ, one of whose four channels has a weight scale of its own."""
    dtype = np.float16 if half else np.float32
    codes = np.random.default_rng(0).integers(-127, 128, _SHAPES[operator]).astype(np.int8)
    scales = np.full(4, 1e-3)
    scales[3] = scale
    arrays: dict[str, Array] = {
        "w": codes, "ws": scales.astype(dtype), "wz": np.zeros(4, np.int8),
        "b": np.full(4, bias, dtype), "s": np.array(0.02, dtype), "z": np.array(0, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node(
            "Cast", ["x"], ["xt"], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        ),
        helper.make_node("QuantizeLinear", ["xt", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node(
            *("DequantizeLinear", ["w", "wt" if computed else "ws", "wz"], ["wd"]),
            axis=0 if operator == "Conv" else 1,
        ),
        helper.make_node(operator, ["xd", "wd", "b"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["cd"]),
        helper.make_node("Cast", ["cd"], ["y"], to=TensorProto.FLOAT),
    ]
    if computed:
        nodes.insert(0, helper.make_node("Abs", ["ws"], ["wt"]))
    shape: list[Any] = ["n", 3] if operator == "Gemm" else ["n", 3, 8, 8]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def result(proto: onnx.ModelProto, *, as_written: bool) -> Array:
    operator = proto.graph.node[-4].op_type
    shape = (2, 3) if operator == "Gemm" else (2, 3, 8, 8)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    with (
        OnnxModel(proto.SerializeToString(), as_written=as_written) as model,
        model.session(2) as session,
    ):
        return session.run({"x": x})["y"]


@pytest.mark.parametrize("operator", _SHAPES)
@pytest.mark.parametrize(
    ("half", "scale", "bias"),
    [(False, 1e-9, 0.5), (False, 1e-10, 2.0), (True, 1e-3, 2.0), (True, 7e-5, 0.5)],
    ids=["dead channel", "deader channel", "half", "half, small scale"],
)
def test_a_bias_stays_what_it_is(operator: str, half: bool, scale: float, bias: float) -> None:
    proto = layer(operator, half=half, scale=scale, bias=bias)
    expected = result(proto, as_written=True)
    # One code more or less: integer kernels add in another order.
    np.testing.assert_allclose(result(proto, as_written=False), expected, atol=0.021)


def test_integer_kernels_stay_where_biases_fit() -> None:
    assert keeps_biases(layer(scale=1e-7).SerializeToString(), None)
    assert keeps_biases(layer(scale=1e-9, bias=0.01).SerializeToString(), None)


@pytest.mark.parametrize(
    "changed",
    [{"scale": 1e-9}, {"half": True}, {"computed": True}, {"scale": 0.0, "bias": 0.0}],
    ids=str,
)
def test_biases_that_do_not_fit_or_are_not_known(changed: dict[str, Any]) -> None:
    assert not keeps_biases(layer(**changed).SerializeToString(), None)


@pytest.mark.parametrize(("scale", "fits"), [(1e-3, True), (1e-9, False)])
def test_weights_beside_a_file(tmp_path: Path, scale: float, fits: bool) -> None:
    path = tmp_path / "layer.onnx"
    proto = layer(scale=scale)
    onnx.save(proto, path, save_as_external_data=True, size_threshold=0)
    assert keeps_biases(path, None) == fits
    (beside,) = (each for each in tmp_path.iterdir() if each != path)
    beside.unlink()
    assert not keeps_biases(path, None)


def test_what_is_no_graph_is_left_to_onnx_runtime() -> None:
    with pytest.raises(GraphError, match="ONNX Runtime does not accept"):
        OnnxModel(b"\x07garbage").session(1)
