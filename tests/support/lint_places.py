"""Cases of the rules on where pairs stand, and on pairs that meet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tests.support.graphs import Graph, batch_norm
from tests.support.linting import SHAPE, Case, block, graph


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
        if behind == "resized":
            large = made.constant("sizes", np.array([1, 1, 2, 2], np.float32))
            value = made.node("Resize", [value, "", large], "large", mode="linear")
            return made.conv(made.pair(value, 0.1), "y")
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
        if reader == "zeros":
            return made.conv(padded(made, value, 0), "y")
        if reader == "linear":
            large = made.constant("sizes", np.array([1, 1, 2, 2], np.float32))
            return made.node("Resize", [value, "", large], "y", mode="linear")
        if reader == "constant":
            return made.node("Mul", [value, made.constant("c", np.array(2, np.float32))], "y")
        return made.node(reader, [value], "y")

    return built(build)


def padded(made: Graph, value: str, number: float) -> str:
    sides = made.constant("sides", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    return made.node("Pad", [value, sides, made.constant("number", np.float32(number))], "padded")


def around(number: float) -> Callable[[], ir.Model]:
    """A quantized tensor with a number around it, before a layer."""
    return built(lambda made: made.conv(padded(made, made.pair("x", 0.1), number), "y"))


def two_parts(scale: float) -> Callable[[], ir.Model]:
    """A layer behind a Concat of a tensor of scale 0.1 and one of another scale."""

    def build(made: Graph) -> str:
        parts = [made.pair("x", 0.1), made.pair(made.node("Relu", ["x"], "r"), scale)]
        return made.conv(made.node("Concat", parts, "parts", axis=1), "y", (4, 8))

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
    skip: str = "",
    main: str = "",
    *,
    projection: bool = False,
    later: bool = True,
    quantized: bool = True,
) -> Callable[[], ir.Model]:
    """A residual block: what stands on its skip and its main operand, ``pair`` or nothing.

    In place of the skip operand stands what is computed of a ``table``, if that is asked for, or a
    ``repeated`` one. The layer before the sum may be none that is ``quantized``.
    """

    def build(made: Graph) -> str:
        value = block(made, made.pair("x", 0.1), "stem")
        entry = made.pair(value, 0.1)
        left = made.conv(entry, "projection") if projection else value
        if skip in ("table", "repeated"):
            table = made.constant("table", np.ones((1, SHAPE[1], 1, 1), np.float32))
            left = made.node("Sigmoid", [table], "positions")
            if skip == "repeated":
                left = made.node("Expand", [left, made.node("Shape", [value], "size")], "repeated")
                left = made.node("Add", [left, table], "queries")
        elif skip:
            left = made.pair(left, 0.1) if projection else entry
        last = block(made, entry, "first")
        last = made.pair(last, 0.1) if quantized else last
        right = made.conv(last, "last", quantized=quantized)
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


def resized(*steps: str) -> Callable[[], ir.Model]:
    """A layer on a tensor that is quantized, enlarged and cut, in that order."""

    def build(made: Graph) -> str:
        value = "x"
        for step in steps:
            if step == "pair":
                value = made.pair(value, 0.1)
            elif step == "resize":
                scales = made.constant("scales", np.array([1, 1, 2, 2], np.float32))
                value = made.node("Resize", [value, "", scales], f"{value}.large", mode="nearest")
            else:
                bounds = [made.constant(name, np.array([at])) for name, at in (("a", 1), ("b", 5))]
                value = made.node(
                    "Slice", [value, *bounds, made.constant("axis", np.array([2]))], "part"
                )
        return made.conv(value, "y")

    return built(build)


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
    Case("float-output", "/op", pooled("softmax"), pooled("pair"), "AveragePool"),
    Case("float-output", "/op", pooled("softmax"), pooled("activations")),
    Case("float-output", "/op", pooled("softmax"), pooled("output")),
    Case("float-output", "/op", pooled("softmax"), pooled("resized", operator="Mul")),
    Case("float-output", "/op", pooled("softmax", operator="Mul"), pooled("pair", operator="Mul")),
    Case(
        "resize-behind-pair",
        "/y",
        resized("pair", "resize"),
        resized("resize", "pair"),
        "'/x.dq.large' (Resize) stands between '/y' and its pair",
        for_="rtx",
    ),
    # What only moves codes is no fault, and two of them are one.
    Case(
        "resize-behind-pair",
        "/y",
        resized("pair", "resize", "resize", "slice"),
        resized("resize", "pair", "slice"),
        "'/x.dq.large.large' (Resize)",
        for_="rtx",
    ),
    Case("idle-pair", "/x.q", idle("Softmax"), idle("layer"), "quantizes for Softmax"),
    Case("idle-pair", "/x.q", idle("Flatten"), idle("slices"), "for the graph's output"),
    Case("idle-pair", "/x.q", idle("linear"), idle("slices"), "for Resize"),
    Case("idle-pair", "/x.q", idle("constant"), idle("layer"), "for Mul"),
    Case("idle-pair", "/x.q", idle("Flatten"), idle("zeros")),
    Case("one-sided", "/y", two_parts(0.2), two_parts(0.1), for_="rtx"),
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
    Case("float-residual", "/sum", residual(), residual("table")),
    Case("float-residual", "/sum", residual(), residual("repeated")),
    Case("float-residual", "/sum", residual(), residual(quantized=False)),
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
]
