"""Cases of the rules on layers: not folded, aligned or quantized, and on what is not counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from tests.support.graphs import Graph, batch_norm
from tests.support.lint_places import one_operand
from tests.support.linting import Case, graph
from trtqat.graph.pixels.forms import CHOICES
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.pixels import Layout, Pixels


def normalized(
    *, fold: bool = False, shared: str = "", quantized: bool = True, tiny: bool = False
) -> ir.Model:
    made = graph()
    norm = batch_norm(4)
    norm.gamma[1] = 1e-37 if tiny else norm.gamma[1]
    layer = made.conv(made.pair("x", 0.1) if quantized else "x", "layer", quantized=quantized)
    if fold:
        made.node("Relu", [layer], "y")
    else:
        made.batch_norm(layer, norm, "y")
    if not shared:
        return made.model("y")
    return made.model("y", made.node(shared, [layer, "y"] if shared == "Add" else [layer], "z"))


def beside(*nodes: str) -> Callable[[], ir.Model]:
    """A BatchNorm behind a layer, and a way around it of the named nodes, from the same tensor."""

    def make() -> ir.Model:
        made = graph()
        layer = way = made.conv(made.pair("x", 0.1), "layer")
        value = made.pair(made.batch_norm(layer, batch_norm(4), "norm"), 0.1)
        value = made.conv(value, "inner", kernel=3)
        for number, name in enumerate(nodes):
            if name == "pair":
                way = made.pair(way, 0.1)
            elif name == "conv":
                way = made.conv(made.pair(way, 0.1), f"conv{number}")
            elif name.endswith("Pool"):
                pooled = {"kernel_shape": [3, 3], "pads": [1] * 4}
                way = made.node(name, [way], f"{name}{number}", **pooled)
            else:
                way = made.node(name, [way, value] if name == "Add" else [way], f"{name}{number}")
        return made.model(way, value)

    return make


def channels(outputs: int, inputs: int, *, image: bool = False) -> Callable[[], ir.Model]:
    def make() -> ir.Model:
        made = Graph((2, inputs, 8, 8))
        value = "x" if image else made.node("Relu", ["x"], "relu")
        made.conv(made.pair(value, 0.1), "y", (outputs, inputs))
        return made.model("y")

    return make


def normalised_image() -> ir.Model:
    """Three channels, normalised in the graph."""
    made = Graph((2, 3, 8, 8))
    made.constants.update(
        {"std": np.full((3, 1, 1), 0.2, np.float32), "one": np.array(1, np.float32)}
    )
    value = made.node("Add", [made.node("Mul", ["x", "std"], "scaled"), "one"], "normal")
    made.conv(made.pair(value, 0.1), "y", (32, 3))
    return made.model("y")


def image_of_bytes(layout: Layout) -> ir.Model:
    """Three channels of bytes, each of them normalised apart."""
    model = channels(32, 3, image=True)()
    take_pixels(model, {"x": Pixels(layout, (0.5,), (0.25,))}, CHOICES["8.6"])
    return model


def constant_product() -> ir.Model:
    """Both operands are constants: TensorRT computes it while it builds."""
    made = graph()
    made.constants.update({"a": np.ones((2, 3), np.float32), "b": np.ones((3, 4), np.float32)})
    made.node("MatMul", ["a", "b"], "m")
    made.constant("shape", np.array([2, 4, 1, 1], np.int64))
    made.node("Add", ["x", made.node("Reshape", ["m", "shape"], "r")], "sum")
    made.conv(made.pair("sum", 0.1), "y")
    return made.model("y")


def hidden_parameters(hidden: bool = True) -> ir.Model:
    """A BatchNorm behind a float convolution, its parameters through Identity or not."""
    model = normalized(quantized=False)
    (norm,) = (node for node in model.graph if node.op_type == "BatchNormalization")
    for index, value in list(enumerate(norm.inputs))[1:] if hidden else ():
        assert value is not None
        identity = ir.Node("", "Identity", [value], name=f"/identity{index}")
        identity.outputs[0].name = f"identity{index}"
        model.graph.insert_before(norm, identity)
        norm.replace_input_with(index, identity.outputs[0])
    return model


def moved_weight(*path: str, operator: str = "Conv") -> ir.Model:
    """A quantized weight that goes through the named nodes."""
    made = Graph((2, 4, 6, 6) if operator == "Conv" else (2, 4))
    weight = made.constant("w", np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    value = made.pair(weight, 0.01)
    made.constant("shape", np.array([4, 4, 1, 1]))
    for name in path:
        value = made.node(name, [value, "shape"] if name == "Reshape" else [value], name)
    made.node(operator, [made.pair("x", 0.1), value], "y")
    return made.model("y")


def graph_of_one() -> ir.Model:
    """One quantized layer and nothing else."""
    made = graph()
    made.conv(made.pair("x", 0.1), "y")
    return made.model("y")


def recurrence(operator: str = "LSTM", steps: int | str = 5) -> ir.Model:
    """A recurrence in floating point before a quantized layer."""
    made = Graph((5, 2, 4), inputs={"x": (steps, 2, 4)})
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    names = [
        made.constant("w", np.zeros((1, gates * 8, 4), np.float32)),
        made.constant("r", np.zeros((1, gates * 8, 8), np.float32)),
    ]
    made.node(operator, ["x", *names], "y", hidden_size=8)
    return made.model("y")


def contraction(operator: str) -> ir.Model:
    """A product of two tensors in the words of several operators."""
    made = Graph((2, 5, 8), inputs={"k": (2, 8, 6)})
    if operator == "Einsum":
        made.node("Einsum", ["x", "k"], "y", equation="bij,bjk->bik")
    elif operator == "ReduceSum":
        made.constant("w", np.ones((5, 8), np.float32))
        product = made.node("Mul", ["x", "w"], "product")
        made.node("ReduceSum", [product], "y")
    elif operator == "norm":
        made.node("ReduceSum", [made.node("Mul", ["x", "x"], "square")], "y")
    else:
        made.node("Einsum", ["x"], "y", equation="bij->bji")
    return made.model("y")


def branches(operator: str) -> ir.Model:
    """An If whose branches hold the operator."""
    made = Graph((2, 4, 6, 6))
    made.constant("w", np.ones((4, 4, 1, 1), np.float32))
    made.constant("half", np.array(0.5, np.float32))
    mean = made.node("ReduceMean", ["x"], "mean", keepdims=0)
    condition = made.node("Greater", [mean, "half"], "condition")
    inputs = ["x", "w"] if operator == "Conv" else ["x"]
    graphs = {}
    for name in ("then_branch", "else_branch"):
        node = helper.make_node(operator, inputs, [f"{name}.y"], name=f"/{name}/{operator}")
        output = helper.make_tensor_value_info(f"{name}.y", TensorProto.FLOAT, (2, 4, 6, 6))
        graphs[name] = helper.make_graph([node], name, [], [output])
    made.node("If", [condition], "y", **graphs)
    return made.model("y")


def plugin(operator: str, domain: str) -> ir.Model:
    made = graph()
    made.node(operator, ["x"], "y", domain=domain)
    return made.model("y")


CASES = [
    Case("batch-norm-not-folded", "/y", normalized, lambda: normalized(fold=True), "'/layer'"),
    Case("batch-norm-not-folded", "/y", normalized, lambda: normalized(quantized=False)),
    Case(
        "batch-norm-not-foldable",
        "/y",
        lambda: normalized(shared="Neg"),
        lambda: normalized(shared="Neg", quantized=False),
        "also read by /z",
    ),
    Case(
        "batch-norm-not-foldable",
        "/y",
        lambda: normalized(shared="Neg"),
        # A pre-activation: the BatchNorm belongs to the layer behind it.
        lambda: normalized(shared="Add"),
    ),
    # No advice of its own stands beside what is rare.
    Case(
        "batch-norm-not-foldable",
        "/y",
        lambda: normalized(tiny=True),
        lambda: normalized(tiny=True, quantized=False),
        "a scale of /layer would leave FP32's normal range",
    ),
    # MaxViT: what the BatchNorm reads is pooled, and projected, around the block.
    *(
        Case(
            "batch-norm-not-foldable",
            "/norm",
            beside("conv", "Relu", "conv", "Add"),
            beside(*nodes, "Add"),
            "before it is also read by /layer.q.",
        )
        for nodes in (("pair", "AveragePool", "conv"), ("MaxPool", "conv"), ("pair",), ("conv",))
    ),
    Case(
        "batch-norm-not-foldable",
        "/norm",
        beside("pair", "AveragePool", "conv", "conv"),
        beside("pair", "AveragePool", "pair", "Add"),
    ),
    Case("parameters-behind-identity", "/y", hidden_parameters, lambda: hidden_parameters(False)),
    Case("channels-unaligned", "/y", channels(33, 32), channels(64, 32), "94%"),
    Case("channels-unaligned", "/y", channels(32, 3), channels(32, 3, image=True), "33%"),
    Case("channels-unaligned", "/y", channels(32, 3), normalised_image, "33%"),
    Case("channels-unaligned", "/y", channels(32, 3), lambda: image_of_bytes("nhwc"), "33%"),
    Case("channels-unaligned", "/y", channels(32, 3), lambda: image_of_bytes("nchw"), "33%"),
    Case("layer-not-quantized", "/y", one_operand(False, False), one_operand(True, True), "100.0%"),
    Case("layer-not-quantized", "/y", one_operand(False, False), constant_product),
    Case(
        "weight-behind-moves",
        "/y",
        lambda: moved_weight("Reshape"),
        lambda: moved_weight("Transpose", operator="MatMul"),
        "'/Reshape'",
    ),
    Case("weight-behind-moves", "/y", lambda: moved_weight("Transpose", "Reshape"), graph_of_one),
    Case("recurrent-in-float", "/y", recurrence, graph_of_one, "(LSTM)"),
    Case("recurrent-in-float", "/y", lambda: recurrence("GRU"), graph_of_one, "100.0%"),
    Case("recurrent-in-float", "/y", lambda: recurrence("RNN", "steps"), graph_of_one, "in float"),
    Case(
        "product-in-float",
        "/y",
        lambda: contraction("Einsum"),
        lambda: contraction("transposition"),
        "(Einsum)",
    ),
    Case("product-in-float", "/y", lambda: contraction("ReduceSum"), lambda: contraction("norm")),
    Case(
        "subgraph-in-float", "/y", lambda: branches("Conv"), lambda: branches("Neg"), "then_branch"
    ),
    Case(
        "not-counted",
        "/y",
        lambda: plugin("Mystery", "my.plugins"),
        lambda: plugin("QuickGelu", "com.microsoft"),
        "my.plugins::Mystery",
    ),
    Case(
        "not-counted",
        "/y",
        lambda: plugin("Mystery_TRT", ""),
        lambda: plugin("EfficientNMS_TRT", ""),
        "Mystery_TRT",
    ),
]
