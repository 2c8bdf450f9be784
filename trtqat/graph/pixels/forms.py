"""Which form the bytes are brought into, for which TensorRT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trtqat.graph.lenses.moves import ONNX_DOMAINS, is_move
from trtqat.graph.lenses.targets import is_for_8_6
from trtqat.graph.pixels.arithmetic import (
    AFFINE,
    CHANNELS,
    DIVIDE,
    HALF,
    LAYER,
    PLANES,
    TABLE,
    Way,
)
from trtqat.pixels import Layout
from trtqat.plan.header import Target

if TYPE_CHECKING:
    import onnx_ir as ir

# What computes in the graphs behind half or planes that 8.6.0 built: a ResNet, a MobileNetV2, a
# UNet, a DenseNet, a feature pyramid. With a Gemm, and with a gelu and a sigmoid (a MaxViT), it
# refused them, and built a table. What only moves values is taken for harmless.
_SEEN_BUILT = {
    *("Conv", "ConvTranspose", "BatchNormalization", "Relu", "Clip", "Add", "Concat", "Resize"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "QuantizeLinear", "DequantizeLinear"),
    *("Constant", "ConstantOfShape", "Shape"),
}

# Where NHWC becomes NCHW: the bytes (as floats), the normalised floats, or the INT8 codes.
Transposed = Literal["first", "middle", "last"]


@dataclass(frozen=True)
class Form:
    """A way to compute, and where the layout changes.

    Attributes:
        way: What is computed.
        transposed: Of NHWC bytes, whether they are moved before it is computed, the floats behind
            it, or their codes. Where not a quantizer alone reads the input, there are no codes,
            and the last are the floats. Of no meaning to a way that makes NCHW by itself.
    """

    way: Way
    transposed: Transposed = "first"

    @property
    def name(self) -> str:
        """As tables call it."""
        return self.way.name if self.way.makes_nchw else f"{self.way.name}-{self.transposed}"

    def takes(self, layout: Layout) -> bool:
        """Whether it computes anything of bytes in that layout."""
        return layout == "nhwc" or not self.way.is_for_nhwc

    def transposed_in(self, layout: Layout) -> Transposed | None:
        """Where bytes in that layout are transposed; None where they are not."""
        if layout == "nchw" or self.way.makes_nchw:
            return None
        return "first" if self.way.needs_nchw else self.transposed


FORMS = (
    Form(DIVIDE),
    Form(DIVIDE, "middle"),
    Form(DIVIDE, "last"),
    Form(AFFINE),
    Form(AFFINE, "middle"),
    Form(AFFINE, "last"),
    Form(TABLE),
    Form(TABLE, "middle"),
    Form(TABLE, "last"),
    Form(CHANNELS),
    Form(PLANES),
    Form(HALF),
    Form(LAYER),
)


def forms_for(layout: Layout) -> tuple[Form, ...]:
    """Those of all forms that differ for bytes in that layout: NCHW is transposed nowhere."""
    if layout == "nhwc":
        return FORMS
    return tuple(form for form in FORMS if form.takes(layout) and form.transposed == "first")


@dataclass(frozen=True)
class Choice:
    """What is written for one TensorRT.

    Attributes:
        codes: Where QuantizeLinear alone reads the input: the first that gives its codes.
        floats: Where anything else reads it.
        int8_weights: Whether weights may be INT8 initializers behind a Cast of bytes.
        convolve: Whether linear layers and means are convolutions and pools behind such a Cast.
        codes_beside_others: As ``codes``, for a graph with operators beside which those were not
            seen to be built; None for the same.
    """

    codes: tuple[Form, ...]
    floats: Form
    int8_weights: bool = True
    convolve: bool = False
    codes_beside_others: tuple[Form, ...] | None = None

    def codes_in(self, graph: ir.Graph) -> tuple[Form, ...]:
        """Which forms of codes are for a graph, as it is when it takes bytes."""
        if self.codes_beside_others is None:
            return self.codes
        is_seen = all(map(_was_built, graph.all_nodes()))
        return self.codes if is_seen else self.codes_beside_others


def _was_built(node: ir.Node) -> bool:
    return (node.op_type in _SEEN_BUILT and node.domain in ONNX_DOMAINS) or is_move(node)


def only(*forms: Form) -> Choice:
    """These forms alone, to compare them; the last of them where floats are wanted."""
    return Choice(forms, forms[-1])


# How each form fuses, and what it takes, is in the README of the room exporting. A table can give
# the codes that no line can: where bytes fall on ties of the rounding.
_BY_TABLE = ((Form(TABLE),), Form(TABLE))
_MOVED_BEHIND = ((Form(AFFINE, "middle"), Form(TABLE, "middle")), Form(DIVIDE, "middle"))
CHOICES: dict[Target, Choice] = {
    # Weakly typed, it takes FP16 for floats where it likes, and half is right in it. Where Mul and
    # Add of all channels are held to FP32, it refuses a ResNet-50; not so where each channel has
    # its own and the end is convolutions. With its Gemm, that was refused from NHWC, too, and a
    # table was built. 8.6.0 stops at INT8 initializers that its Myelin compiler gets, which a Cast
    # of bytes brings in ("convertMyelinWeightsToFp32 … != kINT8"). A ResNet-50 with convolutions at
    # its end was built with them, 0.738 ms beside 0.739; other networks were not tried.
    "8.6": Choice(
        (Form(HALF), Form(PLANES), Form(TABLE)),
        Form(TABLE),
        int8_weights=False,
        convolve=True,
        codes_beside_others=(Form(TABLE),),
    ),
    # Not built yet: 10 as its predecessor has it, 11 as the other that is strongly typed.
    "10": Choice(*_BY_TABLE),
    "11": Choice(*_MOVED_BEHIND),
    # Seen in the layers of its plans: one kernel to the codes, and two where the bytes move first.
    "rtx": Choice(*_MOVED_BEHIND),
}


def choice_for(target: Target | None, opset: int) -> Choice:
    """What is written.

    Args:
        target: The TensorRT that the graph is for; None for each that reads its opset.
        opset: Of the graph.
    """
    oldest: Target = "8.6" if is_for_8_6(opset) else "10"
    return CHOICES[target or oldest]
