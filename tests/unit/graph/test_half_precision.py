"""The FP16 graph: FP32 where values ask for it, by what was measured and what is bounded."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from tests.support.half_graphs import HALF, derive, graph, node, pair
from tests.support.half_inputs import IMAGE, channel_scales, image, normal, scale
from trtqat.errors import ExportError, GraphError
from trtqat.exporting.verification.rounding import round_everywhere
from trtqat.graph.half.derive import derive_half
from trtqat.graph.half.reasons import LIMIT
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array


def convolutions(size: float) -> ir.Model:
    """Three convolutions with quantized weights; the first one's output has about that size."""
    w1, w2 = normal(4, 3, 3, 3, std=size / 150), normal(4, 4, 1, 1, std=0.02)
    w3 = normal(4, 4, 1, 1, std=0.3, seed=1)
    nodes = [
        *pair("x", "x_scale", "xd"),
        *pair("w1", "w1_scale", "w1d", axis=0),
        node("Conv", "xd w1d b1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        *pair("w2", "w2_scale", "w2d", axis=0),
        node("Conv", "r1 w2d", "c2"),
        node("Relu", "c2", "r2"),
        *pair("w3", "w3_scale", "w3d", axis=0),
        node("Conv", "r2 w3d", "y"),
    ]
    constants = {
        "w1": w1, "w2": w2, "w3": w3, "b1": normal(4, std=size), "x_scale": scale(1.001),
        "w1_scale": channel_scales(w1), "w2_scale": channel_scales(w2),
        "w3_scale": channel_scales(w3),
    }  # fmt: skip
    return graph(nodes, constants, {"x": IMAGE}, {"y": "float32"})


def test_overflow_is_infinite_when_forced_and_right_with_the_pass() -> None:
    forced = derive(convolutions(1e5), image(size=30), forced=True)
    rounded = OnnxModel(round_everywhere(forced.half), as_written=True)
    result = rounded.session(2).run(image(size=30))["y"]
    assert not np.isfinite(result).all()
    with pytest.raises(ExportError, match=r"nan dB SQNR at output 'y'"):
        forced.agreement(image(size=30))

    derived = derive(convolutions(1e5), image(size=30), image(1, size=30))
    assert derived.agreement(image(3, size=30)).sqnr_db > 40
    # c1 reaches about 4e5: its convolution, its Relu, and what reads that.
    assert {"/c1", "/r1", "/c2"} <= set(derived.kept)
    assert "tensor 'c1' reaches" in derived.kept["/r1"]
    assert "/y" in derived.report.half
    # No Cast stands between INT8 and its layer, and no needless one anywhere.
    casts = [each for each in derived.proto.graph.node if each.op_type == "Cast"]
    assert derived.report.casts == len(casts) <= 2


def test_without_overflow_all_but_the_borders_is_half() -> None:
    derived = derive(convolutions(1.0), image(size=30))
    assert list(derived.kept) == ["/xd_q"]
    assert "only FP32 is around it, at 'x'" in derived.kept["/xd_q"]
    assert derived.report.weights_stored == 3
    assert 0 < derived.report.worst_scale_change <= 2**-11
    assert derived.report.scales_rounded > 0
    constants = {each.name: each for each in derived.proto.graph.initializer}
    assert constants["b1"].data_type == HALF
    assert constants["w1_scale"].data_type == HALF
    assert "w1" not in constants
    # One quantizer, one number: x's Q is FP32, its DQ is FP16.
    first, second = (numpy_helper.to_array(constants[n]) for n in ("x_scale", "x_scale.fp16"))
    assert (first.dtype.name, second.dtype.name) == ("float32", "float16")
    assert float(first) == float(second)
    assert derived.agreement(image(3, size=30)).sqnr_db > 35


@pytest.mark.parametrize(("share", "fits"), [(0.99, True), (1.01, False)])
def test_margin_below_the_greatest_of_fp16(share: float, fits: bool) -> None:
    names = ("x", "xd", "w1d", "r1", "w2d", "c2", "r2", "w3d", "y")
    report = derive_half(convolutions(1.0), {**dict.fromkeys(names, 1.0), "c1": LIMIT * share})
    assert ("/c1" in report.half) == fits
    assert LIMIT == 65504 / 4


@pytest.mark.parametrize("dead", [False, True])
def test_tiny_scales_keep_their_layer_unless_the_channel_is_dead(dead: bool) -> None:
    weight = normal(4, 3, 3, 3)
    weight[2] *= 0 if dead else 1e-7
    scales = channel_scales(weight)
    scales[2] = 1e-9
    nodes = [
        *pair("x", "x_scale", "xd"),
        *pair("w", "w_scale", "wd", axis=0),
        node("Conv", "xd wd", "c"),
        *pair("v", "v_scale", "vd", axis=0),
        node("Conv", "xd vd", "d"),
        node("Add", "c d", "y"),
    ]
    other = normal(4, 3, 3, 3, seed=1)
    constants = {"w": weight, "w_scale": scales, "x_scale": scale(0.03), "v": other,
                 "v_scale": channel_scales(other)}  # fmt: skip
    derived = derive(graph(nodes, constants, {"x": IMAGE}, {"y": "float32"}), image())
    assert ("/c" in derived.kept) == (not dead)
    assert "/d" in derived.report.half
    if not dead:
        assert "'w_scale': 1e-09 is outside FP16's" in derived.kept["/wd"]
        # x's DequantizeLinear has an FP16 and an FP32 reader.
        doubled = [n.name for n in derived.proto.graph.node if n.op_type == "DequantizeLinear"]
        assert {"/xd", "/xd_fp32"} <= set(doubled)
        assert any("stand twice" in note for note in derived.report.notes)
    assert derived.agreement(image(3)).sqnr_db > 45


def normalization(std: float) -> ir.Model:
    """A LayerNormalization in its parts, between two matrix products."""
    nodes = [
        node("MatMul", "x w", "m"),
        node("ReduceMean", "m last", "mean"),
        node("Sub", "m mean", "centred"),
        node("Mul", "centred centred", "squared"),
        node("ReduceMean", "squared last", "variance"),
        node("Add", "variance epsilon", "shifted"),
        node("Sqrt", "shifted", "deviation"),
        node("Div", "centred deviation", "normal"),
        node("MatMul", "normal v", "y"),
    ]
    generator = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "w": generator.standard_normal((8, 64)).astype(np.float32) * np.float32(std),
        "v": generator.standard_normal((64, 4)).astype(np.float32),
        "last": np.array([-1]),
        "epsilon": scale(1e-12),
    }
    return graph(nodes, constants, {"x": IMAGE}, {"y": "float32"})


def test_sums_inside_operators_are_bounded() -> None:
    derived = derive(normalization(120), image())
    # Greatest about 1500 in each of 64 places; squared above 65504.
    assert "ReduceMean of 64 values of 'm'" in derived.kept["/mean"]
    assert "'squared' reaches" in derived.kept["/squared"]
    assert {"/m", "/y"} <= set(derived.report.half)
    assert derived.agreement(image(3)).sqnr_db > 50
    forced = derive(normalization(120), image(), forced=True)
    with pytest.raises(ExportError, match="dB SQNR"):
        forced.agreement(image(3))


def test_an_epsilon_that_fp16_makes_0_keeps_its_node() -> None:
    derived = derive(normalization(1), image())
    assert list(derived.kept) == ["/shifted"]
    assert "'epsilon' is 1e-12 at most, which FP16 makes 0" in derived.kept["/shifted"]
    assert derived.agreement(image(3)).sqnr_db > 50


def test_what_was_not_measured_or_is_unknown_stays() -> None:
    built = convolutions(1.0)
    report = derive_half(built, {})
    assert not report.half
    assert "tensor 'x' was not measured" in {each.reason for each in report.kept}
    assert report.casts == 0
    with pytest.raises(GraphError, match="has opset 17; Q/DQ take FP16 from opset 19 on"):
        derive_half(
            graph([node("Relu", "x", "y")], {}, {"x": IMAGE}, {"y": "float32"}, opset=17), {}
        )


def test_underflow_of_a_whole_tensor() -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Relu", "c", "r"),
        node("Conv", "r v", "y"),
    ]
    constants = {"w": normal(4, 3, 1, 1, std=1e-4), "v": normal(4, 4, 1, 1, std=1e-1)}
    small = image(size=1e-2)
    derived = derive(graph(nodes, constants, {"x": IMAGE}, {"y": "float32"}), small)
    assert "below FP16's 6.1e-05" in derived.kept["/c"]
    assert derived.agreement(small).sqnr_db > 50


def test_a_graph_becomes_the_same_twice() -> None:
    first, second = (derive(convolutions(1e3), image()) for _ in range(2))
    assert first.half == second.half
