"""Rules on what multiplies and is not INT8: recurrences, other operators, a network's end."""

from __future__ import annotations

from trtqat.graph.lenses.arithmetic import Arithmetic, Kind
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.targets import inputs_of_bytes, is_for_8_6
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint.finding import Places, rule
from trtqat.graph.passes.write_convolutions import layers_to_convolve

_NAMES = 3


@rule(
    "recurrent-in-float",
    cost="speed",
    severity="note",
    remedy="TensorRT runs recurrent layers in floating point, as a loop without INT8 inside: "
    "export with --precision fp16, or put convolutions or attention where INT8 matters.",
    example="trtqat export model.py:qat --input x:1x10x12 --precision fp16 -o model.onnx",
)
def recurrent_in_float(view: GraphView) -> Places:
    """LSTM, GRU and RNN, with their share of the arithmetic."""
    return _in_floating_point(view, "recurrent")


@rule(
    "product-in-float",
    cost="speed",
    severity="note",
    remedy="TensorRT has INT8 for Conv, ConvTranspose, Gemm and MatMul: write it as one of these, "
    "and quantize both its operands, if its share is worth it.",
    example="y = torch.matmul(a, b)  # not torch.tensordot; then trtqat.quantize(model, batches)",
)
def product_in_float(view: GraphView) -> Places:
    """Products by other operators than the layers, with their share of the arithmetic."""
    return _in_floating_point(view, "product")


@rule(
    "subgraph-in-float",
    cost="speed",
    severity="note",
    remedy="Write the model without the branch or loop, as with a condition that is a Python bool "
    "when the model is traced. What a branch or loop computes counts as floating point.",
    example="y = self.small(x) if self.is_small else self.large(x)  # self.is_small: bool",
)
def subgraph_in_float(view: GraphView) -> Places:
    """If, Loop and Scan in which something multiplies."""
    for each in _of_kind(view, "subgraph"):
        listed = ", ".join(f"'{name}'" for name in each.inside[:_NAMES])
        more = f" and {len(each.inside) - _NAMES} more" if len(each.inside) > _NAMES else ""
        yield (
            each.name,
            f"{_described(each)} has layers inside, {listed}{more}, which are not counted as "
            f"INT8{_share(view, each)}.",
        )


@rule(
    "not-counted",
    cost="speed",
    severity="note",
    remedy="How much of the arithmetic is INT8 is not known with it: look at what the engine "
    "runs it in.",
    example="trtqat inspect model.engine --graph model.onnx -v",
)
def not_counted(view: GraphView) -> Places:
    """Operators of which nobody says what they compute."""
    for each in _of_kind(view, "unknown"):
        yield each.name, f"Not counted: {_described(each)}, whose arithmetic is not known."


@rule(
    "linear-behind-bytes",
    cost="speed",
    remedy="Nothing in the model: trtqat export writes convolutions and pools for 8.6, which 8.6.0 "
    "keeps from its Myelin compiler (a ResNet-50 on an H200: 0.765 ms instead of 0.814).",
    example="trtqat export model.onnx --for 8.6 -o mended.onnx",
    only_for="8.6",
)
def linear_behind_bytes(view: GraphView) -> Places:
    """Linear layers and means over images beside an input of bytes, in a graph that 8.6 reads."""
    inputs = inputs_of_bytes(view.graph) if is_for_8_6(view.opset) else ()
    for node in layers_to_convolve(view.graph) if inputs else ():
        yield (
            name_of(node),
            f"'{name_of(node)}' ({node.op_type}) is in a network that casts the bytes of input "
            f"'{inputs[0]}': TensorRT 8.6 computes it, and what stands before it, in floating "
            "point, as seen of a ResNet-50.",
        )


def _in_floating_point(view: GraphView, kind: Kind) -> Places:
    for each in _of_kind(view, kind):
        yield each.name, f"{_described(each)} runs in floating point{_share(view, each)}."


def _of_kind(view: GraphView, kind: Kind) -> list[Arithmetic]:
    return [each for each in view.other_arithmetic if each.kind == kind]


def _described(each: Arithmetic) -> str:
    return f"'{each.name}' ({each.operator})"


def _share(view: GraphView, each: Arithmetic) -> str:
    if each.macs is None:
        return "; how much it computes its shapes do not say"
    return f", {each.macs / view.macs:.1%} of the arithmetic" if view.macs else ""


RULES = (
    recurrent_in_float,
    product_in_float,
    subgraph_in_float,
    not_counted,
    linear_behind_bytes,
)
