"""Linear layers and means over images as convolutions and pools: the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.support.graphs import Graph, operators, run
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint import lint
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.quantize_weights import quantize_weights
from trtqat.graph.passes.write_convolutions import write_convolutions

IMAGES = (2, 4, 6, 6)


class Network(Graph):
    """A graph with linear layers."""

    def mean(self, data: str, output: str, *, keepdims: int = 1) -> str:
        return self.node("ReduceMean", [data], output, axes=[-1, -2], keepdims=keepdims)

    def flat(self, data: str, output: str) -> str:
        return self.node("Flatten", [data], output)

    def linear(
        self,
        data: str,
        output: str,
        sizes: tuple[int, int] = (4, 3),
        *,
        transposed: bool = True,
        pair: str = "weight",
        bias: bool = True,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> str:
        """A Gemm; ``pair`` says what is quantized: nothing, the weight, or the data as well."""
        random = np.random.default_rng(len(self.nodes))
        weight = random.normal(size=sizes[::-1]).astype(np.float32)
        scale = np.abs(weight).max(axis=1) / 127
        name = self.constant(f"{output}.weight", weight if transposed else weight.T)
        if pair != "none":
            name = self.pair(name, scale, 0 if transposed else 1)
        if pair == "both":
            data = self.pair(data, 0.05, name=f"{output}.data")
        inputs = [data, name]
        if bias:
            inputs.append(
                self.constant(f"{output}.bias", random.normal(size=sizes[1]).astype(np.float32))
            )
        return self.node("Gemm", inputs, output, transB=int(transposed), alpha=alpha, beta=beta)


def head(**options: object) -> ir.Model:
    made = Network(IMAGES)
    made.linear(made.flat(made.mean("x", "pooled"), "flat"), "y", **options)  # type: ignore[arg-type]
    return made.model("y")


def mean_without_its_dimensions() -> ir.Model:
    made = Network(IMAGES)
    made.linear(made.mean("x", "pooled", keepdims=0), "y")
    return made.model("y")


def two_behind_each_other() -> ir.Model:
    made = Network(IMAGES)
    hidden = made.linear(made.flat("x", "flat"), "hidden", (144, 5), pair="both")
    made.linear(made.node("Relu", [hidden], "relu"), "y", (5, 3), pair="both")
    return made.model("y")


def two_of_one_pair(*, added: bool = False) -> ir.Model:
    """Two heads, and what reads the floats of their data as well, if asked for."""
    made = Network(IMAGES)
    data = made.pair(made.flat(made.mean("x", "pooled"), "flat"), 0.05)
    for name in ("y", "z"):
        made.linear(data, name)
    if added:
        made.node("Add", [data, data], "more")
    return made.model("y", "z", *(["more"] if added else []))


def result_that_is_read_twice() -> ir.Model:
    made = Network(IMAGES)
    made.linear(made.flat(made.mean("x", "pooled"), "flat"), "y")
    made.node("Softmax", ["y"], "z", axis=-1)
    return made.model("y", "z")


def activation_in_a_branch() -> ir.Model:
    """Of the Gemm's result, which nothing else reads."""
    made = Network(IMAGES)
    made.linear(made.flat(made.mean("x", "pooled"), "flat"), "h")
    made.constant("w", np.ones((2, 3), np.float32))
    branches = {
        name: helper.make_graph(
            [helper.make_node(operator, [source], [name], name=f"/{name}")],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 3))],
        )
        for name, operator, source in (("then_branch", "Relu", "h"), ("else_branch", "Neg", "w"))
    }
    made.node("If", [made.constant("condition", np.array(True))], "y", **branches)
    return made.model("y")


def older_opset() -> ir.Model:
    made = Network((2, 4))
    made.linear(made.node("Relu", ["x"], "r"), "y", pair="none")
    return made.model("y", opset=12)


WRITTEN: dict[str, tuple[Callable[[], ir.Model], list[str]]] = {
    "weight": (head, ["GlobalAveragePool", "Conv", "Flatten"]),
    "both": (lambda: head(pair="both"), ["GlobalAveragePool", "Conv", "Flatten"]),
    "floats": (lambda: head(pair="none"), ["GlobalAveragePool", "Conv", "Flatten"]),
    "not transposed": (
        lambda: head(transposed=False, pair="both"),
        ["GlobalAveragePool", "Conv", "Flatten"],
    ),
    "no bias": (lambda: head(bias=False), ["GlobalAveragePool", "Conv", "Flatten"]),
    "mean without its dimensions": (
        mean_without_its_dimensions,
        ["GlobalAveragePool", "Conv", "Flatten"],
    ),
    "two behind each other": (
        two_behind_each_other,
        ["Flatten", "Unsqueeze", "Conv", "Relu", "Conv", "Flatten"],
    ),
    "two of one pair": (
        two_of_one_pair,
        ["GlobalAveragePool", "Conv", "Flatten", "Conv", "Flatten"],
    ),
    "pair that an Add reads, too": (
        lambda: two_of_one_pair(added=True),
        ["GlobalAveragePool", "Flatten", *(2 * ["Unsqueeze", "Conv", "Flatten"]), "Add"],
    ),
    "read twice": (
        result_that_is_read_twice,
        ["GlobalAveragePool", "Conv", "Flatten", "Softmax"],
    ),
    "activation in a branch": (
        activation_in_a_branch,
        ["GlobalAveragePool", "Conv", "Flatten", "If"],
    ),
    "opset 12": (older_opset, ["Relu", "Unsqueeze", "Conv", "Flatten"]),
}


@pytest.mark.parametrize("stored", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_is_computed(name: str, stored: bool) -> None:
    make, expected = WRITTEN[name]
    model = make()
    if stored:
        quantize_weights(model)
    infer_shapes(model)
    shape = (2, 4) if name == "opset 12" else IMAGES
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    before, pairs = run(model, x), count_of(model, "DequantizeLinear")
    layers = {layer.name for layer in GraphView(model.graph).layers}
    names = [value.name for value in model.graph.outputs]
    found = {each.rule for each in lint(model)}
    assert write_convolutions(model).count
    for one, other in zip(before, run(model, x), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    assert [each for each in operators(model) if "Linear" not in each] == expected
    assert count_of(model, "DequantizeLinear") == pairs
    assert {layer.name for layer in GraphView(model.graph).layers} == layers
    assert [value.name for value in model.graph.outputs] == names
    assert {each.rule for each in lint(model)} <= found


def names_are_taken() -> ir.Model:
    """What the pass would call its nodes and tensors is there already, as output or inside."""
    made = Network((2, 4))
    made.linear("x", "y", (4, 3), pair="none")
    made.node("Mul", ["y", made.constant("/y_image.axes", np.ones(3, np.float32))], "y_flat")
    made.node("Neg", ["y_flat"], "/y_image_output_0")
    made.node("Relu", ["/y_image_output_0"], "y_image")
    return made.model("y", "y_image")


def test_no_name_is_given_twice() -> None:
    model = names_are_taken()
    infer_shapes(model)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    before = run(model, x)
    assert write_convolutions(model).count == 1
    for one, other in zip(before, run(model, x), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    nodes = [node.name for node in model.graph]
    assert len(set(nodes)) == len(nodes)
    assert [value.name for value in model.graph.outputs] == ["y", "y_image"]


def count_of(model: ir.Model, operator: str) -> int:
    return operators(model).count(operator)


def shared_weight() -> ir.Model:
    made = Network((2, 4))
    made.linear("x", "h", (4, 4), pair="none", bias=False)
    made.node("Gemm", [made.node("Relu", ["h"], "r"), "h.weight"], "y")
    return made.model("y")


def beside_a_matmul() -> ir.Model:
    made = Network((2, 4))
    made.linear("x", "h", (4, 4))
    made.node("MatMul", ["h", made.constant("w", np.ones((4, 3), np.float32))], "y")
    return made.model("y")


def weight_that_is_an_output() -> ir.Model:
    made = Network((2, 4))
    made.linear("x", "y")
    return made.model("y", "y.weight.dq")


def codes_that_are_an_output() -> ir.Model:
    made = Network((2, 4))
    made.linear("x", "y")
    return made.model("y", "y.weight.q")


def computed_weight() -> ir.Model:
    made = Network((4, 4))
    made.node("Gemm", ["x", made.node("Relu", ["x"], "r")], "y")
    return made.model("y")


def mean_over_channels() -> ir.Model:
    made = Network(IMAGES)
    made.node("ReduceMean", ["x"], "y", axes=[1, 2])
    return made.model("y")


def mean_of_integers() -> ir.Model:
    made = Network(IMAGES)
    made.mean(made.node("Cast", ["x"], "whole", to=TensorProto.INT32), "pooled")
    made.node("Cast", ["pooled"], "y", to=TensorProto.FLOAT)
    return made.model("y")


KEPT: dict[str, Callable[[], ir.Model]] = {
    "shared weight": shared_weight,
    "beside a MatMul": beside_a_matmul,
    "weight that is an output": weight_that_is_an_output,
    "codes that are an output": codes_that_are_an_output,
    "computed weight": computed_weight,
    "alpha": lambda: head(alpha=0.5),
    "beta": lambda: head(beta=2.0),
    "mean over channels": mean_over_channels,
    "mean of integers": mean_of_integers,
}


KEPT_MEANS = ("mean over channels", "mean of integers")


@pytest.mark.parametrize("name", KEPT)
def test_others_stay(name: str) -> None:
    model = KEPT[name]()
    infer_shapes(model)
    before = [each for each in operators(model) if each != "ReduceMean" or name in KEPT_MEANS]
    write_convolutions(model)
    assert [each for each in operators(model) if each != "GlobalAveragePool"] == before
