"""Cases of the rules on where pairs stand, on pairs that meet, and on what is left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from tests.support.graphs import Graph, batch_norm
from tests.support.linting import Case, block, graph


def built(build: Callable[[Graph], str]) -> Callable[[], ir.Model]:
    """A model of a function that grows a graph and names its output."""

    def make() -> ir.Model:
        made = graph()
        return made.model(build(made))

    return make


def one_operand(weight: bool, data: bool) -> Callable[[], ir.Model]:
    return built(lambda g: g.conv(g.pair("x", 0.1) if data else "x", "y", quantized=weight))


def attention(*, both: bool) -> ir.Model:
    """The second operand is another activation, which a Transpose brings into place."""
    made = Graph((2, 5, 8), inputs={"k": (2, 5, 8)})
    key = made.node("Transpose", [made.pair("k", 0.1)], "t", perm=[0, 2, 1])
    scores = made.node("MatMul", [made.pair("x", 0.1) if both else "x", key], "scores")
    made.node("Softmax", [scores], "y")
    return made.model("y")


def inside(*nodes: str, last: str) -> Callable[[], ir.Model]:
    """A layer, the named nodes with ``pair`` among them, and a layer that reads the last."""

    def build(made: Graph) -> str:
        value = made.conv(made.pair("x", 0.1), "layer")
        for name in nodes:
            if name == "pair":
                value = made.pair(value, 0.1)
            elif name == "norm":
                value = made.batch_norm(value, batch_norm(4), "norm")
            elif name == "MaxPool":
                value = made.node("MaxPool", [value], "pool", kernel_shape=[2, 2])
            else:
                value = made.node(name, [value], name.lower())
        return made.conv(made.pair(value, 0.1) if last == "pair" else value, "y")

    return built(build)


def normalized(*, fold: bool = False, shared: str = "", quantized: bool = True) -> ir.Model:
    made = graph()
    layer = made.conv(made.pair("x", 0.1) if quantized else "x", "layer", quantized=quantized)
    if fold:
        made.node("Relu", [layer], "y")
    else:
        made.batch_norm(layer, batch_norm(4), "y")
    if not shared:
        return made.model("y")
    return made.model("y", made.node(shared, [layer, "y"] if shared == "Add" else [layer], "z"))


def pooled(behind: str, *, operator: str = "AveragePool") -> Callable[[], ir.Model]:
    """A node without weights on INT8, and what stands behind it."""

    def build(made: Graph) -> str:
        value = made.pair(made.node("Relu", ["x"], "r"), 0.1)
        if operator == "AveragePool":
            value = made.node(operator, [value], "op", kernel_shape=[2, 2])
        else:
            other = made.pair(made.node("Abs", ["x"], "a"), 0.1)
            value = made.node(operator, [value, other], "op")
        if behind == "pair":
            return made.conv(made.pair(made.node("Relu", [value], "r2"), 0.1), "y")
        if behind == "activations":
            clip = made.node("Clip", [made.node("Relu", [value], "r2")], "clip")
            return made.conv(made.pair(clip, 0.1), "y")
        if behind == "layer":
            return made.conv(value, "y")
        if behind == "output":
            return made.node("Flatten", [made.node("Relu", [value], "r2")], "y")
        return made.node("Softmax", [value], "y")

    return built(build)


def idle(reader: str) -> Callable[[], ir.Model]:
    def build(made: Graph) -> str:
        value = made.pair("x", 0.1)
        if reader == "layer":
            return made.conv(value, "y")
        if reader == "slices":
            names = [made.constant(f"c{i}", np.array([i], np.int64)) for i in range(3)]
            value = made.node("Slice", [value, names[0], names[2], names[1]], "slice")
            large = made.constant("sizes", np.array([1, 1, 2, 2], np.float32))
            return made.conv(made.node("Resize", [value, "", large], "large"), "y", (4, 2))
        if reader == "linear":
            large = made.constant("sizes", np.array([1, 1, 2, 2], np.float32))
            return made.node("Resize", [value, "", large], "y", mode="linear")
        if reader == "constant":
            return made.node("Mul", [value, made.constant("c", np.array(2, np.float32))], "y")
        return made.node(reader, [value], "y")

    return built(build)


def again(scale: float, *, readers: int = 1, joined: bool = False) -> Callable[[], ir.Model]:
    """A pair of 0.1, a MaxPool, and more pairs behind it."""

    def build(made: Graph) -> str:
        value = made.node("MaxPool", [made.pair("x", 0.1)], "pool", kernel_shape=[2, 2])
        if joined:
            value = made.node("Concat", [value, value], "joined", axis=1)
            return made.conv(made.pair(value, scale), "y", (4, 8))
        names = [made.conv(made.pair(value, scale, name=f"p{i}"), f"c{i}") for i in range(readers)]
        return names[0] if readers == 1 else made.node("Sub", names, "y")

    return built(build)


def residual(
    skip: str = "", main: str = "", *, projection: bool = False, later: bool = True
) -> Callable[[], ir.Model]:
    """A residual block: what stands on its skip and its main operand, ``pair`` or nothing."""

    def build(made: Graph) -> str:
        value = block(made, made.pair("x", 0.1), "stem")
        entry = made.pair(value, 0.1)
        left = made.conv(entry, "projection") if projection else value
        if skip:
            left = made.pair(left, 0.1) if projection else entry
        right = made.conv(made.pair(block(made, entry, "first"), 0.1), "last")
        right = made.pair(right, 0.1) if main else right
        total = made.node("Relu", [made.node("Add", [left, right], "sum")], "relu")
        return (
            made.conv(made.pair(total, 0.1), "y") if later else made.node("Softmax", [total], "y")
        )

    return built(build)


def linear_bottlenecks(main: str = "") -> ir.Model:
    """As MobileNetV2 has them: the skip operand is itself a layer's output, read before."""
    made = graph()
    value = made.conv(made.pair("x", 0.1), "projected")
    right = made.conv(made.pair(block(made, made.pair(value, 0.1), "wide"), 0.1), "last")
    right = made.pair(right, 0.1) if main else right
    made.node("Add", [made.pair(value, 0.1, name="skip"), right], "sum")
    made.conv(made.pair("sum", 0.1), "y")
    return made.model("y")


def concatenated(scale: float, *, later: bool = True) -> Callable[[], ir.Model]:
    def build(made: Graph) -> str:
        operands = [
            made.pair(made.node(n, ["x"], n), s) for n, s in (("Relu", 0.1), ("Abs", scale))
        ]
        value = made.node("Concat", operands, "joined", axis=1)
        return made.conv(made.pair(value, 0.1), "y", (4, 8)) if later else value

    return built(build)


def fork(second: float | None, *, weight: bool = False) -> Callable[[], ir.Model]:
    """Two layers that read one tensor through pairs of their own, or through one."""

    def build(made: Graph) -> str:
        first = made.pair("x", 0.1)
        other = first if second is None else made.pair("x", second, name="other")
        a, b = made.conv(first, "a"), made.conv(other, "b")
        if weight:
            shared = made.pair("a.weight", 0.3, name="tied")
            b = made.node("Conv", [first, shared], "tied.conv")
        return made.node("Sub", [a, b], "y")

    return built(build)


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
    Case("one-sided", "/y", one_operand(True, False), one_operand(True, True), "float input"),
    Case("one-sided", "/y", one_operand(False, True), one_operand(False, False), "float weight"),
    Case(
        "one-sided",
        "/scores",
        lambda: attention(both=False),
        lambda: attention(both=True),
        "INT8 second operand",
    ),
    # The missing pair is one fault, not one of the pool and one of the layer.
    Case("one-sided", "/y", pooled("layer"), pooled("pair"), "float input"),
    Case(
        "pair-inside-layer",
        "/layer.q",
        inside("pair", "Relu", last="pair"),
        inside("Relu", last="pair"),
        "its Relu",
    ),
    Case(
        "pair-inside-layer",
        "/layer.q",
        inside("pair", "norm", "Relu", last="pair"),
        inside("Relu", "pair", "MaxPool", last=""),
        "its BatchNormalization",
    ),
    Case(
        "pair-inside-layer",
        "/layer.q",
        inside("pair", "MaxPool", "Relu", last="pair"),
        inside("Relu", "MaxPool", "pair", last=""),
        "its Relu",
    ),
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
    Case("parameters-behind-identity", "/y", hidden_parameters, lambda: hidden_parameters(False)),
    Case("float-output", "/op", pooled("softmax"), pooled("pair"), "AveragePool"),
    Case("float-output", "/op", pooled("softmax"), pooled("activations")),
    Case("float-output", "/op", pooled("softmax"), pooled("output")),
    Case("float-output", "/op", pooled("softmax", operator="Mul"), pooled("pair", operator="Mul")),
    Case("idle-pair", "/x.q", idle("Softmax"), idle("layer"), "quantizes for Softmax"),
    Case("idle-pair", "/x.q", idle("Flatten"), idle("slices"), "for the graph's output"),
    Case("idle-pair", "/x.q", idle("linear"), idle("slices"), "for Resize"),
    Case("idle-pair", "/x.q", idle("constant"), idle("layer"), "for Mul"),
    Case("redundant-pair", "/p0.q", again(0.1), again(0.1, joined=True)),
    Case("requantized", "/x.dq", again(0.2), again(0.2, joined=True), "'/p0.q'"),
    Case(
        "requantized", "/x.dq", again(0.2, readers=2), again(0.3, joined=True), "'/p0.q', '/p1.q'"
    ),
    Case("float-residual", "/sum", residual(), residual("pair"), "'/last'"),
    Case(
        "float-residual",
        "/sum",
        residual(projection=True),
        residual("pair", projection=True),
        "'/last'",
    ),
    Case("float-residual", "/sum", residual(), residual(later=False)),
    Case("pair-before-add", "/last.q", residual("pair", "pair"), residual("pair"), "'/last'"),
    # On the wrong branch: the skip operand has none.
    Case("pair-before-add", "/last.q", residual("", "pair"), residual("pair")),
    Case(
        "pair-before-add",
        "/last.q",
        residual("pair", "pair", projection=True),
        residual("pair", projection=True),
    ),
    Case("pair-before-add", "/last.q", lambda: linear_bottlenecks("pair"), linear_bottlenecks),
    Case("unequal-scales-concat", "/joined", concatenated(0.2), concatenated(0.1), "0.1, 0.2"),
    Case("unequal-scales-concat", "/joined", concatenated(0.2), concatenated(0.2, later=False)),
    Case("unequal-scales-consumers", "x", fork(0.2), fork(None), "'/x.q', '/other.q'"),
    Case("unequal-scales-consumers", "x", fork(0.2), fork(None, weight=True)),
    Case("repeated-pair", "x", fork(0.1), fork(None), "2 times"),
    Case("channels-unaligned", "/y", channels(33, 32), channels(64, 32), "94%"),
    Case("channels-unaligned", "/y", channels(32, 3), channels(32, 3, image=True), "33%"),
    Case("channels-unaligned", "/y", channels(32, 3), normalised_image, "33%"),
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
