"""The FP16 graph: types as promised, codes as trained, and sizes as they were."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.support.half_graphs import FLOAT, HALF, derive, graph, node, pair
from tests.support.half_inputs import IMAGE, channel_scales, image, normal, scale
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array


def test_int8_initializers_keep_their_codes() -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    nodes = [
        *pair("x", "x_scale", "xd"),
        node("DequantizeLinear", "w w_scale w_scale_z", "wd", axis=0),
        node("Conv", "xd wd", "y"),
    ]
    constants: dict[str, Array] = {
        "w": codes,
        "w_scale": np.array([1e-2, 2e-3, 3e-4, 1e-1], np.float32),
        "x_scale": scale(0.03),
    }
    derived = derive(graph(nodes, constants, {"x": IMAGE}, {"y": "float32"}), image())
    assert derived.report.weights_stored == 0
    weight = next(each for each in derived.proto.graph.initializer if each.name == "w")
    np.testing.assert_array_equal(numpy_helper.to_array(weight), codes)
    assert "/y" in derived.report.half
    assert derived.agreement(image(3)).sqnr_db > 45


def test_weights_that_are_computed_keep_their_codes() -> None:
    weight = normal(5, 8)
    nodes = [
        *pair("x", "x_scale", "xd"),
        node("Transpose", "w", "wt", perm=[1, 0]),
        *pair("wt", "w_scale", "wd", axis=1),
        node("MatMul", "xd wd", "y"),
    ]
    constants = {"w": weight, "w_scale": channel_scales(weight), "x_scale": scale(0.03)}
    derived = derive(graph(nodes, constants, {"x": IMAGE}, {"y": "float32"}), image())
    assert {"/wd", "/y"} <= set(derived.report.half)
    assert derived.report.weights_stored == 1
    tapped = onnx.load_from_string(derived.full)
    tapped.graph.output.append(onnx.ValueInfoProto(name="wd_q"))
    expected = OnnxModel(tapped.SerializeToString(), as_written=True).session(2).run(image())
    (dequantize,) = (n for n in derived.proto.graph.node if n.name == "/wd")
    stored = {i.name: numpy_helper.to_array(i) for i in derived.proto.graph.initializer}
    np.testing.assert_array_equal(stored[dequantize.input[0]], expected["wd_q"])


def test_resize_keeps_its_scales_and_a_mask_its_infinity() -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Resize", "c - factors", "r", mode="linear"),
        node("Greater", "r zero", "positive"),
        node("Where", "positive r never", "masked"),
        node("Softmax", "masked", "s"),
        node("MatMul", "s v", "y"),
    ]
    constants = {"w": normal(4, 3, 1, 1), "factors": np.array([1, 1, 2, 2], np.float32),
                 "zero": scale(-3.0), "never": scale(-np.inf), "v": normal(16, 5)}  # fmt: skip
    derived = derive(graph(nodes, constants, {"x": IMAGE}, {"y": "float32"}), image())
    assert not derived.kept
    types = {each.name: each.data_type for each in derived.proto.graph.initializer}
    assert (types["factors"], types["w"], types["never"]) == (FLOAT, HALF, HALF)
    assert derived.agreement(image(3)).sqnr_db > 50


def test_scales_that_are_computed_give_the_same_size() -> None:
    """4 / 3 is less in FP16, so that 3 pixels became 3 and not 4."""
    nodes = [
        node("Conv", "x w", "c"),
        node("Shape", "c", "pixels", start=2),
        node("Cast", "pixels", "numbers", to=FLOAT),
        node("Div", "wanted numbers", "factors"),
        node("Concat", "ones factors", "scales", axis=0),
        node("Resize", "c - scales", "r"),
        node("Relu", "r", "y"),
    ]
    constants = {"w": normal(4, 3, 1, 1), "wanted": np.array([4], np.float32),
                 "ones": np.ones(2, np.float32)}  # fmt: skip
    x = {"x": normal(2, 3, 3, 3)}
    derived = derive(graph(nodes, constants, {"x": (2, 3, 3, 3)}, {"y": "float32"}), x)
    assert set(derived.kept) == {"/numbers", "/factors", "/scales"}
    assert "the scales of '/r' are computed" in derived.kept["/factors"]
    assert {"/c", "/r"} <= set(derived.report.half)
    assert derived.agreement(x).sqnr_db > 50


def test_several_inputs_with_integers_positions_and_counts() -> None:
    nodes = [
        node("Gather", "table ids", "rows"),
        node("Cast", "ids", "numbers", to=FLOAT),
        node("Mul", "numbers step", "angles"),
        node("Sin", "angles", "waves"),
        node("Unsqueeze", "waves last", "column"),
        node("CumSum", "mask axis", "counted"),
        node("Unsqueeze", "counted last", "weights"),
        node("MatMul", "rows v", "projected"),
        node("Add", "projected column", "sum"),
        node("Mul", "sum weights", "y"),
        node("ArgMax", "sum", "best", axis=-1, keepdims=0),
    ]
    constants = {"table": normal(5000, 6), "v": normal(6, 6), "step": scale(0.7),
                 "last": np.array([-1]), "axis": np.array(1)}  # fmt: skip
    built = graph(
        nodes,
        constants,
        {"ids": ("batch", 7), "mask": ("batch", 7)},
        {"y": "float32", "best": "int64"},
        {"ids": "int64"},
    )
    ids = np.random.default_rng(0).integers(0, 5000, (3, 7))
    batch: dict[str, Array] = {
        "ids": ids,
        "mask": np.random.default_rng(1).random((3, 7)).astype(np.float32),
    }
    derived = derive(built, batch)
    assert "'ids' counts to" in derived.kept["/numbers"]
    assert "the angle 'angles' reaches" in derived.kept["/waves"]
    assert "/angles" in derived.kept
    assert "CumSum counts" in derived.kept["/counted"]
    assert {"/rows", "/projected", "/sum"} <= set(derived.report.half)
    types = {each.name: each.data_type for each in derived.proto.graph.initializer}
    assert types["last"] == onnx.TensorProto.INT64
    agreement = derived.agreement(batch, min_sqnr_db=15)
    assert agreement.per_output["y"] > 50


def test_a_subgraph_stays_and_reads_float32_from_outside() -> None:
    def branch(operator: str) -> onnx.GraphProto:
        made = helper.make_node(operator, ["c"], [f"{operator}_y"], name=f"/{operator}")
        value = helper.make_tensor_value_info(f"{operator}_y", FLOAT, None)
        return helper.make_graph([made], operator, [], [value])

    nodes = [
        node("Conv", "x w", "c"),
        node("If", "flag", "chosen", then_branch=branch("Relu"), else_branch=branch("Neg")),
        node("Conv", "chosen v", "y"),
    ]
    constants = {"w": normal(4, 3, 1, 1), "v": normal(4, 4, 1, 1)}
    built = graph(nodes, constants, {"x": IMAGE, "flag": ()}, {"y": "float32"}, {"flag": "bool"})
    batches = [{**image(), "flag": np.array(flag)} for flag in (True, False)]
    derived = derive(built, *batches)
    assert "If has a graph of its own" in derived.kept["/chosen"]
    assert derived.report.half == ("/c", "/y")
    assert derived.agreement(*batches).sqnr_db > 50


def test_casts_of_the_graph_stay_and_get_the_type() -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Cast", "c", "again", to=FLOAT),
        node("Cast", "again", "short", to=HALF),
        node("Cast", "short", "long", to=FLOAT),
        node("Conv", "long v", "y"),
    ]
    constants = {"w": normal(4, 3, 1, 1), "v": normal(4, 4, 1, 1)}
    derived = derive(graph(nodes, constants, {"x": IMAGE}, {"y": "float32"}), image())
    casts = [each for each in derived.proto.graph.node if each.op_type == "Cast"]
    own = {each.name: each.attribute[0].i for each in casts if each.name in derived.report.half}
    assert own == dict.fromkeys(("/again", "/short", "/long"), HALF)
    assert derived.report.casts == len(casts) - len(own) == 2
    assert derived.agreement(image(3)).sqnr_db > 50
