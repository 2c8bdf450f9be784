"""Small graphs of other tools, each with one thing that FP16 may break.

``trtqat export`` takes such graphs, too. Models of PyTorch rarely have these things in a graph that
this exporter wrote, so the twelve workloads do not show what a piece of ``graph/half`` is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from scripts.bench.half_workloads import Workload
from tests.support.half_graphs import FLOAT, graph, node, pair
from trtqat.tensors import Array, TensorSpec

SHAPE = ("batch", 4, 8, 8)


@dataclass(frozen=True)
class Probe(Workload):
    """A graph to make an FP16 graph of; ``build`` gives FP32 with Q/DQ, opset 19 or newer."""

    build: Callable[[], ir.Model]  # type: ignore[assignment]


def _normal(*shape: int, size: float = 1.0, seed: int = 0) -> Array:
    generator = np.random.default_rng([seed, *shape])
    return (generator.standard_normal(shape) * size).astype(np.float32)


def _scales(weight: Array) -> Array:
    return np.asarray(np.abs(weight).reshape(len(weight), -1).max(1) / 127, np.float32)


def _one(value: float) -> Array:
    return np.array(value, np.float32)


def _variance() -> ir.Model:
    """A BatchNormalization of something small: its variance is 0 in FP16."""
    nodes = [
        node("Conv", "x w", "h"),
        node("BatchNormalization", "h ones zeros zeros variance", "z", epsilon=1e-9),
        node("Conv", "z v", "y"),
    ]
    constants = {
        "w": _normal(4, 4, 1, 1, size=1e-3), "v": _normal(4, 4, 1, 1),
        "ones": np.ones(4, np.float32), "zeros": np.zeros(4, np.float32),
        "variance": np.full(4, 4e-6, np.float32),
    }  # fmt: skip
    constants["variance"][1] = 1e-8
    return graph(nodes, constants, {"x": SHAPE}, {"y": "float32"})


def _sum() -> ir.Model:
    """A mean of thousands: its sum is above 65504, its tensors are not."""
    nodes = [
        node("Conv", "x w", "h"),
        node("ReduceMean", "h last", "m", keepdims=1),
        node("Sub", "h m", "z"),
        node("Conv", "z v", "y"),
    ]
    constants = {"w": _normal(4, 4, 1, 1, size=2000), "v": _normal(4, 4, 1, 1, size=1e-3),
                 "last": np.array([1, 2, 3])}  # fmt: skip
    return graph(nodes, constants, {"x": SHAPE}, {"y": "float32"})


def _whole_numbers() -> ir.Model:
    """An index that is computed in floats: FP16 does not tell whole numbers above 2048 apart."""
    nodes = [
        node("Cast", "positions", "numbers", to=FLOAT),
        node("Mul", "numbers third", "parts"),
        node("Floor", "parts", "whole"),
        node("Cast", "whole", "rows", to=onnx.TensorProto.INT64),
        node("Gather", "table rows", "h"),
        node("MatMul", "h v", "y"),
    ]
    constants = {"third": _one(1 / 3), "table": _normal(1200, 8), "v": _normal(8, 8)}
    types = {"positions": "int64"}
    return graph(nodes, constants, {"positions": ("batch", 24)}, {"y": "float32"}, types)


def _computed_sizes() -> ir.Model:
    """A Resize whose scales are computed: 4 / 3 is less in FP16."""
    nodes = [
        node("Conv", "x w", "c"),
        node("Shape", "c", "pixels", start=2),
        node("Cast", "pixels", "numbers", to=FLOAT),
        node("Div", "wanted numbers", "factors"),
        node("Concat", "ones factors", "scales", axis=0),
        node("Resize", "c - scales", "r"),
        node("Relu", "r", "y"),
    ]
    constants = {"w": _normal(4, 3, 1, 1), "wanted": _one(4).reshape(1),
                 "ones": np.ones(2, np.float32)}  # fmt: skip
    return graph(nodes, constants, {"x": ("batch", 3, 3, 3)}, {"y": "float32"})


def _two_readers() -> ir.Model:
    """One DequantizeLinear that two convolutions read; a scale of one is lost in FP16."""
    first, second = _normal(4, 4, 3, 3), _normal(4, 4, 3, 3, seed=1)
    first[2] *= 1e-7
    nodes = [
        *pair("x", "x_scale", "xd"),
        *pair("w", "w_scale", "wd", axis=0),
        node("Conv", "xd wd", "c"),
        *pair("v", "v_scale", "vd", axis=0),
        node("Conv", "xd vd", "d"),
        node("Add", "c d", "y"),
    ]
    constants = {"w": first, "w_scale": _scales(first), "x_scale": _one(0.03), "v": second,
                 "v_scale": _scales(second)}  # fmt: skip
    return graph(nodes, constants, {"x": SHAPE}, {"y": "float32"})


def _dead_channel() -> ir.Model:
    """A channel of zeros whose scale is next to nothing."""
    weight = _normal(4, 4, 3, 3)
    weight[2] = 0
    scales = _scales(weight)
    scales[2] = 1e-12
    nodes = [*pair("x", "x_scale", "xd"), *pair("w", "w_scale", "wd", axis=0),
             node("Conv", "xd wd", "y")]  # fmt: skip
    constants = {"w": weight, "w_scale": scales, "x_scale": _one(0.03)}
    return graph(nodes, constants, {"x": SHAPE}, {"y": "float32"})


def _float_weights() -> ir.Model:
    """Weights in float before their QuantizeLinear, as graphs for TensorRT 8.6 have them."""
    weight = _normal(64, 64)
    nodes = [*pair("x", "x_scale", "xd"), *pair("w", "w_scale", "wd", axis=1),
             node("MatMul", "xd wd", "y")]  # fmt: skip
    constants = {"w": weight, "x_scale": _one(0.03), "w_scale": _scales(weight.T)}
    return graph(nodes, constants, {"x": ("batch", 9, 64)}, {"y": "float32"})


def _casts() -> ir.Model:
    """A Cast to float32 that does nothing, as ``x.float()`` leaves it."""
    nodes = [
        node("Conv", "x w", "c"),
        node("Cast", "c", "same", to=FLOAT),
        node("Conv", "same v", "y"),
    ]
    constants = {"w": _normal(4, 4, 1, 1), "v": _normal(4, 4, 1, 1, seed=1)}
    return graph(nodes, constants, {"x": SHAPE}, {"y": "float32"})


def _wide_range() -> ir.Model:
    """A quantizer that takes up to 127, of which the samples reach 4; the square of a product."""
    weight = _normal(4, 4, 3, 3)
    nodes = [*pair("x", "x_scale", "xd"), *pair("w", "w_scale", "wd", axis=0),
             node("Conv", "xd wd", "c"), node("Mul", "c c", "y")]  # fmt: skip
    constants = {"w": weight, "w_scale": _scales(weight), "x_scale": _one(1.0)}
    return graph(nodes, constants, {"x": SHAPE}, {"y": "float32"})


def _scores() -> ir.Model:
    """The operator Attention of opset 23: its scores are above 65504 before they are scaled."""
    nodes = [
        node("MatMul", "x wq", "q"),
        node("MatMul", "x wk", "k"),
        node("MatMul", "x wv", "v"),
        node("Attention", "q k v", "a", q_num_heads=1, kv_num_heads=1, scale=1e-4),
        node("MatMul", "a wo", "y"),
    ]
    constants = {"wq": _normal(64, 64, size=40), "wk": _normal(64, 64, size=40, seed=1),
                 "wv": _normal(64, 64), "wo": _normal(64, 64, size=0.1)}  # fmt: skip
    return graph(nodes, constants, {"x": ("batch", 9, 64)}, {"y": "float32"}, opset=23)


_X = (TensorSpec("x", (1, 4, 8, 8)),)

PROBES: dict[str, Workload] = {
    "tiny variance": Probe(_variance, _X),
    "large sum": Probe(_sum, _X),
    "whole numbers": Probe(
        _whole_numbers, (TensorSpec("positions", (1, 24), "int64"),), first=3000
    ),
    "computed sizes": Probe(_computed_sizes, (TensorSpec("x", (1, 3, 3, 3)),)),
    "two readers": Probe(_two_readers, _X),
    "dead channel": Probe(_dead_channel, _X),
    "float weights": Probe(_float_weights, (TensorSpec("x", (1, 9, 64)),)),
    "large scores": Probe(_scores, (TensorSpec("x", (1, 9, 64)),)),
    "idle Cast": Probe(_casts, _X),
    "wide range": Probe(_wide_range, _X, held_out=30.0),
}
