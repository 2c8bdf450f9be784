"""Passes over ONNX graphs: what they make, and that ONNX Runtime computes the same after."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from tests.support.one_input import SHAPE, model, run
from trtqat.errors import ExportError, QuantizerError
from trtqat.graph.passes.canonical_graph import canonicalize
from trtqat.graph.passes.fold_splits import fold_splits
from trtqat.graph.passes.lower_opset import lower_opset
from trtqat.graph.passes.name_nodes import name_nodes
from trtqat.tensors import Array


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)],
        [helper.make_node("ReduceMean", ["x"], ["y"], noop_with_empty_axes=0)],
        [helper.make_node("ReduceMax", ["x", "axes"], ["y"])],
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"])],
        [helper.make_node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)],
        [helper.make_node("Split", ["x"], ["y", "z"], axis=2, num_outputs=2)],
        [helper.make_node("Pad", ["x", "pads", "", "axes"], ["y"])],
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], antialias=0)],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_lowered_graph_computes_the_same(nodes: list[onnx.NodeProto]) -> None:
    constants: dict[str, Array] = {
        "axes": np.array([-1], np.int64),
        "pads": np.array([1, 2], np.int64),
        "scales": np.array([1, 2, 1], np.float32),
    }
    used = {name: array for name, array in constants.items() if name in nodes[0].input}
    nodes[0].name = "node"
    built = model(nodes, used)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    expected = run(built, x)
    lower_opset(built)
    assert built.graph.opset_imports[""] == 17
    for before, after in zip(expected, run(built, x), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    "bounds", [{"start": 0, "end": 2}, {"start": -1}, {"end": -1}, {"start": 1, "end": 9}]
)
def test_a_part_of_a_shape_is_cut_off_the_whole(bounds: dict[str, Any]) -> None:
    """TensorRT 8.6.0 does not read start and end."""
    built = model(
        [
            helper.make_node("Shape", ["x"], ["part"], name="shape", **bounds),
            helper.make_node("Cast", ["part"], ["y"], name="cast", to=onnx.TensorProto.FLOAT),
        ],
        {},
    )
    x = np.zeros(SHAPE, np.float32)
    expected = run(built, x)
    lower_opset(built)
    assert [node.op_type for node in built.graph] == ["Shape", "Slice", "Cast"]
    assert not built.graph.node("shape/whole").attributes
    np.testing.assert_array_equal(run(built, x)[0], expected[0])


@pytest.mark.parametrize(
    "options", [{}, {"num_outputs": 2}, {"axis": 1}], ids=["half", "counted", "axis"]
)
@pytest.mark.parametrize("sizes", [None, [1, 3]])
def test_a_weight_that_is_split_is_stored_in_pieces(
    options: dict[str, Any], sizes: list[int] | None
) -> None:
    """As the packed projection of nn.MultiheadAttention."""
    weight = np.arange(16, dtype=np.float32).reshape(4, 4)
    constants: dict[str, Array] = {"w": weight}
    if sizes is not None:
        options = {name: value for name, value in options.items() if name != "num_outputs"}
        constants["sizes"] = np.array(sizes, np.int64)
    elif "num_outputs" not in options:
        options = {**options, "num_outputs": 2}
    reads = ["w", "sizes"] if sizes is not None else ["w"]
    nodes = [
        helper.make_node("Split", reads, ["a", "b"], name="split", **options),
        helper.make_node("ReduceSum", ["a"], ["first"], name="sum", keepdims=0),
        helper.make_node("Add", ["x", "first"], ["y"], name="add"),
        helper.make_node("ReduceSum", ["b"], ["second"], name="other", keepdims=0),
        helper.make_node("Mul", ["y", "second"], ["z"], name="mul"),
    ]
    built = model(nodes, constants)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    expected = run(built, x)
    assert fold_splits(built).count == 1
    assert {"w.0", "w.1"} <= built.graph.initializers.keys()
    for before, after in zip(expected, run(built, x), strict=True):
        np.testing.assert_array_equal(before, after)


def test_sizes_may_be_an_attribute() -> None:
    """As up to opset 12."""
    nodes = [
        helper.make_node("Split", ["w"], ["a", "b"], name="split", split=[1, 3]),
        helper.make_node("ReduceSum", ["a"], ["first"], name="sum", keepdims=0),
        helper.make_node("Add", ["x", "first"], ["y"], name="add"),
    ]
    built = model(nodes, {"w": np.arange(16, dtype=np.float32).reshape(4, 4)}, opset=12)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    expected = run(built, x)
    assert fold_splits(built).count == 1
    np.testing.assert_array_equal(run(built, x)[0], expected[0])


@pytest.mark.parametrize("keeps", [None, 0, 1])
@pytest.mark.parametrize("is_given", [False, True])
def test_no_axes_are_all_of_them_or_none(keeps: int | None, is_given: bool) -> None:
    attributes: dict[str, Any] = {} if keeps is None else {"noop_with_empty_axes": keeps}
    inputs = ["x", "none"] if is_given else ["x"]
    nodes = [helper.make_node("ReduceMean", inputs, ["y"], name="mean", **attributes)]
    constants: dict[str, Array] = {"none": np.zeros(0, np.int64)} if is_given else {}
    built = model(nodes, constants)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    (expected,) = run(built, x)
    if keeps:
        np.testing.assert_array_equal(expected, x)
        with pytest.raises(ExportError, match="it keeps all axes"):
            lower_opset(built)
        return
    lower_opset(built)
    np.testing.assert_array_equal(run(built, x)[0], expected)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("Mish", ["x"], ["y"], name="m"), "new in opset 18"),
        (helper.make_node("ReduceMean", ["x", "x"], ["y"], name="m"), "while the model runs"),
        (
            helper.make_node("Resize", ["x", "", "s"], ["y"], name="m", antialias=1),
            "antialias=1",
        ),
    ],
)
def test_what_opset_17_lacks_is_refused_by_name(node: onnx.NodeProto, reason: str) -> None:
    with pytest.raises(ExportError, match=reason) as caught:
        lower_opset(model([node], {"s": np.ones(3, np.float32)}))
    assert "'m'" in caught.value.problem


def fake_quantize(**attributes: Any) -> onnx.NodeProto:
    defaults = {"axis": -1, "low": -128.0, "high": 127.0, "quantizer": "a.q"}
    return helper.make_node(
        "FakeQuantize",
        attributes.pop("inputs", ["x", "s"]),
        ["y"],
        domain="trtqat",
        **{**defaults, **attributes},
    )


def test_expanded_pair() -> None:
    built = model([fake_quantize()], {"s": np.float32(0.5)})
    pairs = canonicalize(built, opset=17)
    assert pairs.uses == {"a.q": 1}
    quantize, dequantize = list(built.graph)
    assert (quantize.op_type, dequantize.op_type) == ("QuantizeLinear", "DequantizeLinear")
    assert quantize.name == "/a/q/QuantizeLinear"
    assert quantize.inputs[1] is not None
    assert quantize.inputs[1].name == "a.q.scale"
    zero_point = quantize.inputs[2]
    assert zero_point is not None
    assert zero_point.dtype == ir.DataType.INT8
    assert [output.name for output in built.graph.outputs] == ["y"]
    x = np.array([[[-100.0, 0.24, 0.25, 0.75, 100.0]]], np.float32).repeat(6, 1).repeat(2, 0)
    np.testing.assert_array_equal(run(built, x)[0][0, 0], [-64.0, 0.0, 0.0, 1.0, 63.5])


def test_weights_are_clipped_themselves_and_activations_by_a_node() -> None:
    weights = np.array([[-9.0, 0.4], [-9.0, 9.0]], np.float32)
    on_weights = fake_quantize(inputs=["w", "s"], axis=0, low=-127.0)
    on_weights.output[0] = "wq"
    built = model(
        [on_weights, helper.make_node("MatMul", ["x", "wq"], ["y"])],
        {"w": weights, "s": np.array([0.01, 0.02], np.float32)},
        shape=(1, 2),
    )
    canonicalize(built, opset=17)
    assert "Clip" not in [node.op_type for node in built.graph]
    assert all(
        node.attributes["axis"].as_int() == 0 for node in built.graph if "Linear" in node.op_type
    )
    result = run(built, np.eye(2, dtype=np.float32)[:1])[0]
    np.testing.assert_allclose(result, [[-1.27, 0.4]], rtol=1e-6)

    built = model([fake_quantize(low=-127.0)], {"s": np.float32(0.5)})
    pairs = canonicalize(built, opset=17)
    assert next(node.op_type for node in built.graph) == "Clip"
    assert "'a.q' clips to the codes [-127, 127]" in pairs.notes[0]
    assert run(built, np.full(SHAPE, -1e3, np.float32))[0].min() == -63.5


@pytest.mark.parametrize("names", [["a.q"] * 3, ["a.q", "b.q", "c.q", "d.q"]])
def test_clips_of_many_quantizers_are_one_note(names: list[str]) -> None:
    tensors = ["x", *(f"t{number}" for number in range(1, len(names))), "y"]
    nodes = []
    for name, read, written in zip(names, tensors[:-1], tensors[1:], strict=True):
        node = fake_quantize(inputs=[read, "s"], low=-127.0, quantizer=name)
        node.output[0] = written
        nodes.append(node)
    pairs = canonicalize(model(nodes, {"s": np.float32(0.5)}), opset=17)
    (note,) = pairs.notes
    assert "'a.q' clips to the codes [-127, 127]" in note
    assert note.endswith("So it is with 3 more.") == (len(set(names)) > 1)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (fake_quantize(axis=1), r"per-channel \(axis 1\) but quantizes an activation"),
        (fake_quantize(low=0.0, high=255.0), r"codes \[0, 255\]"),
        (fake_quantize(inputs=["x", "s", "zero"]), "zero-point other than 0"),
        (fake_quantize(inputs=["x", "none"]), "not a positive number"),
    ],
)
def test_refused_quantizers(node: onnx.NodeProto, message: str) -> None:
    channels = np.ones(6, np.float32)
    scale = channels if node.attribute[0].i == 1 else np.float32(0.5)
    constants = {"s": scale, "zero": np.array(3, np.int32), "none": np.array(0.0, np.float32)}
    used = {name: np.asarray(array) for name, array in constants.items() if name in node.input}
    with pytest.raises(QuantizerError, match=message) as caught:
        canonicalize(model([node], used), opset=17)
    assert "'a.q'" in caught.value.problem


@pytest.mark.parametrize(
    ("scales", "zeros", "message"),
    [
        ([0.01, 0.02], [0, 3], "zero-point other than 0"),
        ([0.01, 0.0], [0, 0], "not a positive number"),
        ([0.01, np.nan], [0, 0], "not a positive number"),
    ],
)
def test_one_channel_is_enough_to_refuse_a_weight(
    scales: list[float], zeros: list[int], message: str
) -> None:
    on_weights = fake_quantize(inputs=["w", "s", "zero"], axis=0)
    on_weights.output[0] = "wq"
    constants = {
        "w": np.ones((2, 2), np.float32),
        "s": np.array(scales, np.float32),
        "zero": np.array(zeros, np.int32),
    }
    product = helper.make_node("MatMul", ["x", "wq"], ["y"])
    with pytest.raises(QuantizerError, match=message):
        canonicalize(model([on_weights, product], constants, shape=(1, 2)), opset=17)


def test_names_of_both_exporters_become_the_same() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="node_relu"),
        helper.make_node("Relu", ["a"], ["b"], name="/features/features.0/Relu"),
        helper.make_node("Relu", ["b"], ["y"], name="node_relu_1"),
    ]
    built = model(nodes)
    scopes = ["['', 'head', 'head.1', 'relu']", None, None]
    for node, scope in zip(built.graph, scopes, strict=True):
        if scope:
            node.metadata_props["pkg.torch.onnx.name_scopes"] = scope
            node.metadata_props["pkg.torch.onnx.stack_trace"] = 'File "/home/me/secret.py"'
    name_nodes(built)
    assert [node.name for node in built.graph] == ["/head/1/Relu", "/features/0/Relu", "/Relu"]
    assert next(iter(built.graph)).outputs[0].name == "/head/1/Relu_output_0"
    assert built.graph.outputs[0].name == "y"
    proto: onnx.ModelProto = ir.to_proto(built)
    assert b"secret" not in proto.SerializeToString()
