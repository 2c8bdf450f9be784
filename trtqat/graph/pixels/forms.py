"""Which form the bytes are brought into, for which TensorRT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trtqat.graph.lenses.targets import is_for_8_6
from trtqat.graph.pixels.arithmetic import AFFINE, DIVIDE, LAYER, TABLE, Way
from trtqat.plan.header import Target

# Where NHWC becomes NCHW: the bytes (as floats), or the INT8 codes.
Transposed = Literal["first", "last"]


@dataclass(frozen=True)
class Form:
    """A way to compute, and where the layout changes.

    Attributes:
        way: What is computed.
        transposed: Of NHWC bytes, whether they are moved before it is computed, or the codes (the
            floats, where not a quantizer alone reads the input) behind it.
    """

    way: Way
    transposed: Transposed = "first"

    @property
    def name(self) -> str:
        """As tables call it."""
        return f"{self.way.name}-{self.transposed}"


_DIVIDED, _AFFINE, _TABLE = Form(DIVIDE), Form(AFFINE), Form(TABLE)

FORMS = (
    _DIVIDED,
    Form(DIVIDE, "last"),
    _AFFINE,
    Form(AFFINE, "last"),
    _TABLE,
    Form(TABLE, "last"),
    Form(LAYER),
)


@dataclass(frozen=True)
class Choice:
    """What is written for one TensorRT.

    Attributes:
        codes: Where QuantizeLinear alone reads the input: the first that gives its codes.
        floats: Where anything else reads it.
        int8_weights: Whether weights may be INT8 initializers behind a Cast of bytes.
    """

    codes: tuple[Form, ...]
    floats: Form
    int8_weights: bool

    @property
    def forms(self) -> tuple[Form, ...]:
        """In the order in which they are tried."""
        return (*self.codes, self.floats)


# How each of them fuses is in the room exporting's README. A table can give whatever codes a
# formula cannot: where bytes fall on ties of the rounding.
CHOICES: dict[Target, Choice] = {
    # 8.6.0 stops at INT8 initializers: a Cast of bytes brings its Myelin compiler in
    # ("convertMyelinWeightsToFp32 … != kINT8").
    "8.6": Choice((_AFFINE, _TABLE), _DIVIDED, int8_weights=False),
    "10": Choice((_AFFINE, _TABLE), _DIVIDED, int8_weights=True),
    "11": Choice((_AFFINE, _TABLE), _DIVIDED, int8_weights=True),
    "rtx": Choice((_AFFINE, _TABLE), _DIVIDED, int8_weights=True),
}


def choice_for(target: Target | None, opset: int) -> Choice:
    """What is written.

    Args:
        target: The TensorRT that the graph is for; None for each that reads its opset.
        opset: Of the graph.
    """
    oldest: Target = "8.6" if is_for_8_6(opset) else "10"
    return CHOICES[target or oldest]
