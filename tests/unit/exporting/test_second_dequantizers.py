"""An FP16 graph has two DequantizeLinear nodes behind a quantizer that FP16 and FP32 nodes read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.support.half_graphs import Derived, derive, graph, node, pair, verify_half
from trtqat.errors import ExportError
from trtqat.tensors import Array

_STEP = np.float32(0.05)


def images(batch: int, seed: int) -> dict[str, Array]:
    x = np.random.default_rng(seed).standard_normal((batch, 3, 16, 16))
    return {"x": x.astype(np.float32)}


def scales(weight: Array) -> Array:
    return np.asarray(np.abs(weight).reshape(len(weight), -1).max(1) / 127, np.float32)


@pytest.fixture(scope="module")
def read_twice() -> Derived:
    """An INT8 activation that an FP16 and an FP32 convolution read; the latter doubles a code.

    A channel of the latter has a scale that FP16 does not hold.
    """
    rng = np.random.default_rng(0)
    w = (rng.standard_normal((4, 3, 3, 3)) * 0.3).astype(np.float32)
    v = rng.standard_normal((4, 4, 1, 1)).astype(np.float32)
    u = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
    u[3] *= 1e-7
    nodes = [
        *pair("x", "x_scale", "xd"),
        *pair("w", "w_scale", "wd", axis=0),
        node("Conv", "xd wd", "c"),
        *pair("c", "c_scale", "cd"),
        *pair("v", "v_scale", "vd", axis=0),
        node("Conv", "cd vd", "y"),
        *pair("u", "u_scale", "ud", axis=0),
        node("Conv", "cd ud", "f"),
        *pair("f", "f_scale", "fd"),
        node("Relu", "fd", "z"),
    ]
    constants = {
        "w": w, "w_scale": scales(w), "v": v, "v_scale": scales(v), "u": u, "u_scale": scales(u),
        "x_scale": np.array(0.03, np.float32), "c_scale": np.array(_STEP),
        "f_scale": np.array(_STEP / 2),
    }  # fmt: skip
    made = graph(nodes, constants, {"x": ("batch", 3, 16, 16)}, {"y": "float32", "z": "float32"})
    derived = derive(made, images(8, 0))
    assert "/f" in derived.kept
    assert {"/y", "/cd_q"} <= set(derived.report.half)
    assert {"/cd", "/cd_fp32"} <= {each.name for each in derived.proto.graph.node}
    return derived


def test_a_code_that_flips_does_not_reach_the_next_piece(read_twice: Derived) -> None:
    agreement = read_twice.agreement(images(8, 1))
    # It flips: FP16 rounds what the first convolution makes.
    assert agreement.sqnr_db < 80
    assert agreement.pieces is not None
    # Three activations and two outputs, one activation of them by either of two nodes.
    assert agreement.pieces.count == 5


def test_the_second_one_has_a_scale_that_is_compared_too(read_twice: Derived) -> None:
    proto = onnx.load_from_string(read_twice.half)
    second = next(each for each in proto.graph.node if each.name == "/cd_fp32")
    scale = next(each for each in proto.graph.initializer if each.name == second.input[1])
    wrong = numpy_helper.to_array(scale) * np.float32(1.02)
    scale.CopyFrom(numpy_helper.from_array(np.asarray(wrong, np.float32), scale.name))
    with pytest.raises(ExportError, match="'/cd_q' quantizes otherwise"):
        verify_half(read_twice.full, proto.SerializeToString(), [images(8, 1)])
